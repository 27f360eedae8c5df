"""How targets are written in a cell: numbers, and several values at once."""

import json
import re
from typing import Any

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_number(text: str) -> float:
    """Read a number: ASCII digits and a decimal point.

    Python's own `float` would also take `1_000`, `nan` and digits of other scripts.

    Raises:
        ValueError: saying what was expected and found.
    """
    if not _NUMBER.fullmatch(text):
        hint = "; write the decimals after a point" if "," in text else ""
        raise ValueError(f"expected a number such as -1.5; found {text!r}{hint}")
    return float(text)


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
