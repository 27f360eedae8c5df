import os
import subprocess
import sys

import pytest

import lit_mtl as package
from lit_mtl.commands.help import overview
from tests.conftest import Run

AT_ONCE = [
    ["--help"],
    ["--version"],
    ["help", "fit"],
    ["check-data", "--json", "--help"],
    ["predict", "-h"],
    ["fit", "--trainer.help"],
    ["completion", "bash"],
]


@pytest.mark.parametrize("words", AT_ONCE, ids=" ".join)
def test_help_and_completion_import_nothing_heavy(words: list[str]) -> None:
    program = (
        f"import sys; from lit_mtl.cli import main; code = main({words})\n"
        "heavy = {'torch', 'lightning', 'transformers', 'jsonargparse', 'numpy'} & set(sys.modules)\n"
        "sys.exit(code or ', '.join(heavy) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


def test_a_pager_may_close_before_the_end() -> None:
    read, write = os.pipe()
    os.close(read)  # nobody reads
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "lit_mtl", "fit", "--help"],
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["help"]])
def test_without_a_command_the_overview_is_shown(
    lit_mtl: Run, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl(*words) == 0
    assert capsys.readouterr().out == f"{overview()}\n"


def test_help_of_a_command_is_its_option_help(
    lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("help", "export") == 0
    asked = capsys.readouterr().out
    assert lit_mtl("export", "--help") == 0
    assert asked == capsys.readouterr().out
    assert "--push_to_hub" in asked


def test_an_unknown_command_is_refused_with_the_choices(
    lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["train"], ["help", "train"]):
        assert lit_mtl(*words) == 2
        assert "plan, groups, fit, validate, test" in capsys.readouterr().err


def test_an_expected_failure_is_one_readable_line_with_its_exit_code(
    lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("embed", "--ckpt_path", "nowhere.ckpt", "a") == 66
    captured = capsys.readouterr()
    assert captured.err == ("lit_mtl embed: nowhere.ckpt: expected a checkpoint file, found none\n")


def test_public_names_load_on_first_use() -> None:
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing
