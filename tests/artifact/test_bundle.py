import shutil
from pathlib import Path
from typing import Any

import numpy
import pandas  # type: ignore[import-untyped]
import pytest
import torch

from lit_mtl.artifact.bundle import TrainedModel, load_checkpoint
from lit_mtl.errors import MissingInputError
from tests.conftest import Run

TEXTS = [f"{'very ' * (7 * number % 5)}good film {number}" for number in range(23)]


@pytest.fixture
def checkpoint(lit_mtl: Run, fit_arguments: list[str], tmp_path: Path, tiny_bert: Path) -> Path:
    """A checkpoint whose backbone's folder is gone."""
    moved = tmp_path / "moved"
    shutil.copytree(tiny_bert, moved)
    assert lit_mtl("fit", *fit_arguments, f"--model.backbone={moved}") == 0
    shutil.rmtree(moved)
    return next(tmp_path.glob("lightning_logs/**/best.ckpt"))


def test_a_checkpoint_needs_neither_hub_nor_the_original_weights(checkpoint: Path) -> None:
    model = load_checkpoint(checkpoint)
    embeddings = model.embed(TEXTS)
    assert embeddings.shape == (23, 256)
    stored = torch.load(checkpoint, weights_only=True)["state_dict"]
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, stored[f"_network.{name}"])


def test_batch_size_and_order_do_not_matter(checkpoint: Path) -> None:
    model = load_checkpoint(checkpoint)
    reference = model.embed(TEXTS, batch_tokens=1)
    torch.testing.assert_close(
        model.embed(TEXTS, batch_tokens=100), reference, atol=1e-5, rtol=1e-5
    )
    backwards = model.embed(TEXTS[::-1]).flip(0)
    torch.testing.assert_close(backwards, reference, atol=1e-5, rtol=1e-5)


def test_predictions_are_decoded_and_in_order(checkpoint: Path) -> None:
    model = load_checkpoint(checkpoint)
    rows = model.predict(TEXTS, batch_tokens=60)
    assert len(rows) == len(TEXTS)
    again = [model.predict([text])[0] for text in TEXTS]
    for row, single in zip(rows, again, strict=True):
        assert row["sentiment"]["label"] in ("negative", "positive")
        assert -4 <= row["score"]["score"] <= 4
        assert row["score"]["score"] == pytest.approx(single["score"]["score"], abs=1e-4)
        assert sum(row["sentiment"]["probabilities"].values()) == pytest.approx(1.0)


def test_nothing_gives_nothing_and_a_long_text_is_cut(checkpoint: Path) -> None:
    model = load_checkpoint(checkpoint)
    assert model.embed([]).shape == (0, 256)
    assert model.predict([]) == []
    assert model.embed(["long " * 10_000]).shape == (1, 256)
    assert isinstance(model, TrainedModel)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(MissingInputError, match=r"nowhere\.ckpt"):
        load_checkpoint("nowhere.ckpt")


def test_a_column_and_an_array_are_sentences_and_other_things_are_named(checkpoint: Path) -> None:
    model = load_checkpoint(checkpoint)
    texts = ["a fine film", "a dull one"]
    expected = model.predict(texts)
    assert model.predict(pandas.Series(texts, index=[7, 8])) == expected
    array: Any = numpy.array(texts)
    assert model.predict(array) == expected
    with pytest.raises(TypeError, match="expected sentences; found None at place 1"):
        model.embed(["a", None])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="expected a list of sentences; found one str"):
        model.predict("a fine film")
