"""The options of every command, from a table: parsers take seconds to build, a list none.

The table `options.json` lies beside this file; `describe.py` writes it from the parsers.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lit_mtl.command_table import COMMANDS

TABLE = Path(__file__).with_name("options.json")

SHARED = "config"
"""Entry of the options that all commands have which are configured like a training run."""

EVERY = "every"
"""Entry of the options that every command has."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option, or an argument without a flag.

    Args:
        flags: its names; none for an argument.
        value: what stands for its value; None if it takes none.
        default: as one would type it; None if there is none that is short.
        help: what it does.
    """

    flags: tuple[str, ...]
    value: str | None
    default: str | None
    help: str

    @property
    def name(self) -> str:
        """The longest flag, or what stands for an argument."""
        return self.flags[-1] if self.flags else str(self.value)

    @property
    def section(self) -> str:
        """`model` of `--model.lr`; empty for an option of the command itself, as `--tasks.help`."""
        section, _, key = self.name.removeprefix("--").partition(".")
        return "" if key in ("", "help") else section

    @property
    def choices(self) -> list[str]:
        """The values that there are, if they are few."""
        value = self.value or ""
        return value[1:-1].split(",") if value.startswith("{") else []

    @property
    def takes_value(self) -> bool:
        """Whether a word behind it is its value."""
        return self.value is not None and not self.value.startswith("[=")


def options_of(name: str) -> list[Option]:
    """The options of a command, its own before those that it shares.

    Args:
        name: the command.
    """
    known, command = table(), COMMANDS[name]
    options = list(known.get(name, ()))
    if command.takes_config:
        options += known[SHARED]
    elif command.takes_trainer_flags:
        options += [option for option in known[SHARED] if option.section == "trainer"]
    return options + known[EVERY]


@cache
def table() -> dict[str, list[Option]]:
    """The whole table: a command, or one of the shared entries, to its options."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))
    return {
        name: [Option(**{**row, "flags": tuple(row["flags"])}) for row in found]
        for name, found in rows.items()
    }
