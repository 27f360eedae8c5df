"""Writes the table of all options from the parsers: `python -m lit_mtl.commands.describe`."""

import argparse
import json
import re
from collections.abc import Iterable
from dataclasses import asdict

from jsonargparse import capture_parser

from lit_mtl.commands import compare, completion, export, infer, init, train
from lit_mtl.commands.options import EVERY, SHARED, TABLE, Option
from lit_mtl.files import write_atomically

_OWN = {
    "check-data": [
        Option(flags=("--json",), value=None, default=None, help="print the report for programs")
    ],
    "plan": [
        Option(
            flags=("--generate",),
            value="{gradual}",
            default=None,
            help="print a plan to begin with instead; to be given before all other options",
        )
    ],
    EVERY: [
        Option(
            flags=("--quiet",),
            value=None,
            default=None,
            help="print warnings, errors and the result, or where it lies",
        ),
        Option(
            flags=("--verbose",),
            value=None,
            default=None,
            help="print what the libraries say too, every metric, and where an error comes from",
        ),
    ],
}
"""Options that are taken before the parser sees the rest."""

_NAMES = re.compile(r":\w+:`~?(?:\w+\.)*(\w+)`")
"""A reference in Lightning's documentation."""


def described() -> dict[str, list[Option]]:
    """The options of each command, as its parser has them."""
    parsers = {
        "init": init.parser("init"),
        "compare": compare.parser("compare"),
        "export": export.parser("export"),
        "predict": infer.parser("predict"),
        "embed": infer.parser("embed"),
        "completion": completion.parser("completion"),
        SHARED: capture_parser(train.run, "groups", []),
    }
    return {**_OWN, **{name: _options(parser._actions) for name, parser in parsers.items()}}


def as_text(table: dict[str, list[Option]]) -> str:
    """The table as JSON with a line for each option."""
    parts = []
    for name, options in table.items():
        rows = ",\n".join(f"  {json.dumps(asdict(o), ensure_ascii=False)}" for o in options)
        parts.append(f"{json.dumps(name)}: [\n{rows}\n]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _options(actions: Iterable[argparse.Action]) -> list[Option]:
    """What a user may give: neither links nor the names of whole sections of a config."""
    options = [_option(action) for action in actions if _is_option(action)]
    sections = {option.section for option in options}
    return [option for option in options if option.name.removeprefix("--") not in sections]


def _is_option(action: argparse.Action) -> bool:
    linked = any(" --> " in flag for flag in action.option_strings)
    # what is linked has a help of its own, which tells nothing new
    return not linked and action.help != argparse.SUPPRESS and action.dest != "data.tasks.help"


def _option(action: argparse.Action) -> Option:
    return Option(
        flags=tuple(flag for flag in action.option_strings if not flag.endswith("+")),
        value=_value(action),
        default=_default(action),
        help=_help(action),
    )


def _help(action: argparse.Action) -> str:
    text = " ".join((action.help or "").split())
    if _default(action) is not None:  # which is said beside it, and may be this project's own
        text = re.sub(r" Default: ``[^`]*``\.?", "", text)
    required = " (required)" if action.required and action.option_strings else ""
    return _NAMES.sub(r"`\1`", text).replace("``", "`") + required


def _value(action: argparse.Action) -> str | None:
    if action.nargs == 0:
        return None
    if action.choices is not None:
        return f"{{{','.join(action.choices)}}}"
    if not action.option_strings:
        return action.dest
    if isinstance(action.metavar, str):
        return action.metavar.strip("\b").replace("CLASS_PATH_OR_NAME", "CLASS")
    if isinstance(action.default, int | float) and not isinstance(action.default, bool):
        return "N"
    return action.dest.rpartition(".")[2].upper()


def _default(action: argparse.Action) -> str | None:
    default = action.default
    if action.nargs == 0 or default is argparse.SUPPRESS:
        return None
    if isinstance(default, str | int | float):
        return str(default).lower() if isinstance(default, bool) else str(default)
    return None


if __name__ == "__main__":
    write_atomically(TABLE, as_text(described()).encode("utf-8"))
