"""How targets are written in a cell: numbers, and several values at once."""

import json
import re
from typing import Any

import torch

from lit_mtl.errors import ConfigError

MOST = torch.finfo(torch.float32).max
"""The largest number that targets can be."""

_MOST_LEVELS = 101

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_number(text: str) -> float:
    """Read a number: ASCII digits and a decimal point, of a size that targets can be.

    Python's own `float` would also take `1_000`, `nan` and digits of other scripts.

    Raises:
        ValueError: saying what was expected and found.
    """
    if not _NUMBER.fullmatch(text):
        hint = "; write the decimals after a point" if "," in text else ""
        raise ValueError(f"expected a number such as -1.5; found {text!r}{hint}")
    number = float(text)
    if abs(number) > MOST:
        raise ValueError(f"expected a number from {-MOST:.2g} to {MOST:.2g}; found {text!r}")
    return number


def read_whole(text: str, *, otherwise: str) -> int:
    """Read a whole level; tables with empty cells write it as 3.0.

    Args:
        text: the number.
        otherwise: the kind of task whose values may lie in between.

    Raises:
        ValueError: saying what was expected and found.
    """
    number = read_number(text)
    if not number.is_integer():
        raise ValueError(
            f"expected a whole level; found {text}. Scores in between are of the kind {otherwise}"
        )
    return int(number)


def refuse_many_levels(low: float, high: float, *, otherwise: str) -> None:
    """Refuse more levels than a head has outputs for.

    Args:
        low: the lowest level.
        high: the highest one.
        otherwise: the kind of task that has no levels.

    Raises:
        ConfigError: if there are more than 101.
    """
    if high - low >= _MOST_LEVELS:
        raise ConfigError(
            f"Expected at most {_MOST_LEVELS} levels, but got {high - low + 1:.10g}, from {low:.10g} to "
            f"{high:.10g}. So many are of the kind {otherwise}"
        )


def split_cell(text: str) -> list[str]:
    """The values of a cell that holds several.

    They are separated by `|`; or the cell is a JSON array of texts or numbers if it begins with
    `[`, which also says that there are none (`[]`). White space around a value does not count.

    Raises:
        ValueError: saying what was expected and found.
    """
    if not text.startswith("["):
        values: list[Any] = text.split("|")
    else:
        number: Any = str  # keeps the digits as they were written
        try:
            values = json.loads(text, parse_int=number, parse_float=number, parse_constant=number)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"expected a JSON array such as [4, 5]; found {text!r}") from error
    for value in values:
        if not isinstance(value, str) or not value.strip():
            raise ValueError(
                f"expected values separated by |, or in a JSON array; found {text!r}, "
                f"in which one is {'empty' if isinstance(value, str) else json.dumps(value)}"
            )
    return [value.strip() for value in values]


def join_cell(values: list[str]) -> str:
    """Write values as `split_cell` reads them."""
    plain = values and not any("|" in value or value.startswith("[") for value in values)
    return "|".join(values) if plain else json.dumps(values, ensure_ascii=False)
