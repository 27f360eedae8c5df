import subprocess
import sys

import pytest

import lit_mtl as package
from lit_mtl.cli import COMMANDS, help_text
from tests.conftest import Run


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    program = (
        "import sys; from lit_mtl.cli import main; code = main(['--help'])\n"
        "heavy = {'torch', 'lightning', 'transformers', 'jsonargparse'} & set(sys.modules)\n"
        "sys.exit(code or bool(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == help_text().strip()
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("words", [[], ["-h"], ["help"]])
def test_without_a_command_the_help_is_shown(
    lit_mtl: Run, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl(*words) == 0
    assert "commands:" in capsys.readouterr().out


def test_an_unknown_command_is_refused_with_the_choices(
    lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("train") == 2
    assert "fit, validate, test, predict" in capsys.readouterr().err


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
