from pathlib import Path

import pytest

from lit_mtl.data.datamodule import SentimentDataModule
from tests.conftest import example_data


@pytest.fixture
def data(tiny_bert: Path) -> SentimentDataModule:
    """The example sentences, read and prepared."""
    found = example_data(tiny_bert)
    found.prepare_data()
    found.setup("fit")
    return found
