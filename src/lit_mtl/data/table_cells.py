"""What a cell of a table is: text as it was written, a number or a list as JSON, or nothing."""

import json
import math
import re
from datetime import date, time
from decimal import Decimal
from typing import Any

from lit_mtl.errors import DataError

Cell = str | None


class Verbatim(str):
    """A number, truth value or list, written as JSON writes it: a target, but no sentence."""

    __slots__ = ()


class Foreign(Verbatim):
    """An object, or a list with objects in it, as JSON: no target either, and only passed on."""

    __slots__ = ()


def as_cell(value: Any, where: str, name: str, *, foreign: bool) -> Cell:
    """A value as a cell; `foreign` says whether it may also be an object."""
    if value is None or isinstance(value, Verbatim):
        return value
    if isinstance(value, str):
        return _text(value, where, name)
    if isinstance(value, bool | float | int | Decimal):
        return _number(value)
    if isinstance(value, date | time):
        return value.isoformat()  # as it would stand in a CSV file
    if isinstance(value, list):
        parts = [as_cell(part, where, name, foreign=foreign) for part in value]
        kind = Foreign if any(isinstance(part, Foreign) for part in parts) else Verbatim
        return kind(f"[{', '.join(map(as_json, parts))}]")
    if foreign and isinstance(value, dict):
        keys = [as_json(_text(key, where, name)) for key in value]
        parts = [as_cell(part, where, name, foreign=True) for part in value.values()]
        pairs = zip(keys, map(as_json, parts), strict=True)
        return Foreign(f"{{{', '.join(f'{key}: {part}' for key, part in pairs)}}}")
    raise DataError(
        f"{where}: expected text, a number or a list under {name!r}; found {shortened(repr(value))}"
    )


def _text(value: str, where: str, name: str) -> str:
    if found := _UNREADABLE.search(value):
        raise DataError(
            f"{where}: expected text under {name!r}; found the character {found.group()!r}"
        )
    return value


def _number(value: bool | float | int | Decimal) -> Verbatim | None:
    if isinstance(value, bool):
        return Verbatim(str(value).lower())
    if isinstance(value, float):
        # pandas and others write a missing number so
        return None if math.isnan(value) else Verbatim(json.dumps(value))
    return Verbatim(value)


_UNREADABLE = re.compile("[\0\ud800-\udfff]")
"""What no UTF-8 file holds and tokenizers cannot read, but JSON can spell: NUL, half a pair."""


def as_json(cell: Any) -> str:
    """A cell, or what was found of a row, as JSON; what JSON wrote already with its digits as they are."""
    return cell if isinstance(cell, Verbatim) else json.dumps(cell, ensure_ascii=False)


def shortened(text: str) -> str:
    """The beginning of a text, for messages."""
    return text if len(text) <= 40 else f"{text[:40]}…"
