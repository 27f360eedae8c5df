"""The table is what the parsers accept: no more, no less, and no older."""

import sys

import pytest
from jsonargparse import Namespace, capture_parser

from lit_mtl.commands import train
from lit_mtl.commands.describe import as_text, described
from lit_mtl.commands.options import EVERY, TABLE, Option, options_of, table

NO_SETTINGS = {"--config", "--print_config", "--help"}

NOTHING = {"--tasks": "{}", "--freezing.stages": "[]"}
"""Values that mean nothing, where null does not."""


def settings(name: str) -> list[Option]:
    found = options_of(name)
    taken_before = NO_SETTINGS | {option.name for option in table()[EVERY]}
    return [o for o in found if o.name not in taken_before and not o.name.endswith(".help")]


def test_the_table_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lit_mtl"])
    written = TABLE.read_text(encoding="utf-8")
    assert as_text(described()) == written, "make options writes it again"


@pytest.mark.parametrize("name", ["fit", "validate", "test"])
def test_every_option_of_the_table_parses_and_none_is_missing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["lit_mtl", name])
    parser = capture_parser(train.run, name, [])
    words = [f"{o.name}={o.default or NOTHING.get(o.name, 'null')}" for o in settings(name)]
    parsed: Namespace = parser.parse_args([name, *words])[name]
    known = {option.name.removeprefix("--") for option in settings(name)}
    sections = {option.section for option in settings(name)}
    linked = {"data.tasks", "data.seed"}
    assert set(parsed.keys()) - sections - linked - {"config"} == known
