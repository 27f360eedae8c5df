"""What the help shows, in which order; tests of the table hold it to the parsers."""

import re
from itertools import pairwise

import pytest

from lit_mtl import errors
from lit_mtl.command_table import COMMANDS
from lit_mtl.commands.help import _WORDS, OFTEN, example, help_asked_for, overview
from lit_mtl.commands.options import options_of

CONFIGURED = [name for name, command in COMMANDS.items() if command.takes_config]


def shown(name: str, flag: str = "--help") -> str:
    text = help_asked_for(name, [flag])
    assert text is not None
    return text


def flags(text: str) -> list[str]:
    """The options that a help describes, in its order, each by its long flag."""
    starts = re.findall(r"^  (-\S.*?)(?:  .*)?$", text, flags=re.MULTILINE)
    return [re.findall(r"--[\w.]+", start)[-1] for start in starts]


def test_each_command_stands_once_in_the_group_of_its_purpose_with_its_example() -> None:
    found: dict[str, str] = {}
    purpose = ""
    lines = overview().splitlines()
    for line, after in pairwise(lines):
        if heading := re.fullmatch(r"(\w.*):", line):
            purpose = heading[1]
        elif command := re.match(r"  ([\w-]+) +\w", line):
            assert command[1] not in found
            found[command[1]] = purpose
            assert after.strip() == example(command[1])
    assert found == {name: command.purpose for name, command in COMMANDS.items()}


def test_the_exit_codes_are_those_of_the_errors() -> None:
    codes = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.LitMTLError)
    }
    line = overview().partition("exit codes:")[2]
    assert {0, 130, 143} | codes == {int(code) for code in re.findall(r"\d+", line)}


@pytest.mark.parametrize("name", CONFIGURED)
def test_own_options_stand_before_the_few_of_the_trainer(name: str) -> None:
    found = flags(shown(name))
    own = [option.name for option in options_of(name) if option.section != "trainer"]
    assert sorted(found[: len(own)]) == sorted(own)
    assert found[len(own) :] == list(OFTEN)


def test_what_a_command_alone_takes_stands_first() -> None:
    assert flags(shown("check-data"))[0] == "--json"
    assert flags(shown("plan"))[0] == "--generate"
    assert flags(shown("fit"))[0] == "--config"
    for name in COMMANDS:
        assert "--help" in flags(shown(name))


@pytest.mark.parametrize("name", [n for n, each in COMMANDS.items() if each.takes_trainer_flags])
def test_the_trainer_help_lists_all_of_its_flags(name: str) -> None:
    found = flags(shown(name, "--trainer.help"))
    assert found == [option.name for option in options_of(name) if option.section == "trainer"]
    assert set(OFTEN) < set(found)
    assert "--trainer.help" in shown(name)


def test_each_option_has_its_words_and_its_default() -> None:
    text = " ".join(shown("fit").split())
    assert "--model.pooling {mean,cls,max} `mean`, `cls` or `max` of the token vectors" in text
    assert "--trainer.max_epochs N epochs to train (default: 3)" in text
    assert "LIT_MTL_FIT__MODEL__LR" in text
    assert "(LIT_MTL_MODEL__LR)" in shown("plan")
    assert set(_WORDS) <= {option.name for option in options_of("fit")}


def test_only_words_that_ask_for_help_show_it() -> None:
    assert help_asked_for("embed", ["--", "--help"]) is None
    assert help_asked_for("fit", ["--tasks.help", "Ordinal"]) is None
    assert help_asked_for("export", ["--trainer.help"]) is None
    assert help_asked_for("fit", []) is None
    assert help_asked_for("fit", ["--model.lr", "1", "-h"]) == shown("fit")
