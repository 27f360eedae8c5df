"""The scripts in the shells that they are for."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lit_mtl.command_table import COMMANDS
from lit_mtl.commands.completion import SHELLS, bash, fish, zsh
from lit_mtl.commands.options import options_of
from tests.conftest import Run

ASK_BASH = """
source ./completion.bash
while IFS= read -r line; do
    IFS='|' read -ra COMP_WORDS <<< "$line|"
    COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
    _lit_mtl
    echo "${COMPREPLY[*]}"
done
"""


def completed(lines: list[list[str]]) -> list[list[str]]:
    """What bash offers for each line of words; it finds no program, so that none makes it wait."""
    Path("completion.bash").write_text(bash(), encoding="utf-8")
    done = subprocess.run(
        [str(shutil.which("bash")), "--norc", "-c", ASK_BASH],
        input="".join("|".join(line) + "\n" for line in lines),
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return [line.split() for line in done.stdout.splitlines()]


CASES = [
    (["lit_mtl", "e"], ["export", "embed"]),
    (["lit_mtl", "help", "va"], ["validate"]),
    (["lit_mtl", "fit", "--model.po"], ["--model.pooling"]),
    (["lit_mtl", "fit", "--model.pooling", ""], ["mean", "cls", "max"]),
    (["lit_mtl", "fit", "--model.pooling", "="], ["mean", "cls", "max"]),
    (["lit_mtl", "fit", "--model.pooling", "=", "m"], ["mean", "max"]),
    (["lit_mtl", "plan", "--generate", "g"], ["gradual"]),
    (["lit_mtl", "completion", ""], ["bash", "fish", "zsh"]),
    (["lit_mtl", "predict", "--trainer.dev"], ["--trainer.devices"]),
    (["lit_mtl", "predict", "--model.po"], []),
    (["lit_mtl", "fit", "--config", "my"], []),  # files: bash's own completion
]


def test_bash_completes_commands_options_and_values() -> None:
    assert completed([line for line, _ in CASES]) == [expected for _, expected in CASES]


def test_bash_completes_all_commands_and_all_of_their_options() -> None:
    commands, *options = completed([["lit_mtl", ""], *(["lit_mtl", n, "-"] for n in COMMANDS)])
    assert set(commands) == {*COMMANDS, "help", "--help", "--version"}
    for name, found in zip(COMMANDS, options, strict=True):
        expected = {flag for option in options_of(name) for flag in option.flags}
        assert set(found) - {"--trainer.help"} == expected
        assert ("--trainer.help" in found) == COMMANDS[name].takes_trainer_flags


def test_bash_knows_the_function_by_the_name_of_the_command() -> None:
    assert bash().splitlines()[-1].endswith("-F _lit_mtl lit_mtl")


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes_commands_options_and_values() -> None:
    for line, expected in (
        ("lit_mtl vali", ["validate"]),
        ("lit_mtl fit --model.po", ["--model.pooling"]),
        ("lit_mtl fit --model.pooling m", ["max", "mean"]),
    ):
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"source; complete -C '{line}'"],
            input=fish(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert [each.split("\t")[0] for each in done.stdout.splitlines()] == expected


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_reads_its_script() -> None:
    done = subprocess.run(["zsh", "-n"], input=zsh(), capture_output=True, text=True, check=True)
    assert not done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_hears_of_every_command_and_option(
    lit_mtl: Run, shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("completion", shell) == 0
    script = capsys.readouterr().out
    for name in COMMANDS:
        assert name in script
        for option in options_of(name):
            assert all(flag.lstrip("-") in script for flag in option.flags)


def test_another_shell_is_refused_with_the_choices(
    lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        lit_mtl("completion", "csh")
    assert "choose from 'bash', 'fish', 'zsh'" in capsys.readouterr().err
