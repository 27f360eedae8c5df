import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from lit_mtl.command_table import COMMANDS
from tests.conftest import EXAMPLE_FILES, Run


@pytest.mark.slow
def test_the_examples_lead_from_files_to_a_model_in_use(lit_mtl: Run, tiny_bert: Path) -> None:
    """Each as it stands in the help, but with a small backbone and a short training."""
    small = {
        "init": [f"--backbone={tiny_bert}"],
        "fit": ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"],
        "compare": ["--trainer.max_epochs=1", "--data.test_fraction=0.3"],
    }
    shutil.copytree(EXAMPLE_FILES, "my_folder")
    for name, command in COMMANDS.items():
        assert lit_mtl(name, *shlex.split(command.example), *small.get(name, [])) == 0, name
    assert Path("embeddings.npy").is_file()


def test_commands_of_one_purpose_stand_together() -> None:
    purposes = [command.purpose for command in COMMANDS.values()]
    changes = sum(one != other for one, other in pairwise(purposes))
    assert changes == len(set(purposes)) - 1
