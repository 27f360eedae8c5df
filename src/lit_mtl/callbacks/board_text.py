"""Rows of a split as a table for TensorBoard's text dashboard, which reads Markdown."""

import textwrap
from collections.abc import Iterable, Sequence

from lit_mtl.errors import printable

_CLIP = 200

_WIDTH = 40
"""Characters of a line: TensorBoard breaks words, and long lines leave other columns no width."""

_MARGIN = "&nbsp;" * 3
"""Beside a header, for the same reason."""


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> str:
    """A table whose cells are shown as they are, whatever is in them.

    Args:
        headers: of the columns; trusted.
        rows: the cells of each row, clipped to 200 characters.
        empty: what to say instead where there are no rows.
    """
    lines = [f"| {' | '.join(escaped(cell) for cell in row)} |" for row in rows]
    if not lines:
        return empty
    shown = [f"{_MARGIN}{header}{_MARGIN}" for header in headers]
    return "\n".join([f"| {' | '.join(shown)} |", f"|{' --- |' * len(headers)}", *lines])


def escaped(text: str) -> str:
    """Text in lines that neither Markdown nor HTML reads as anything else: punctuation as entities."""
    line = printable(" ".join(text.split()))
    line = line if len(line) <= _CLIP else f"{line[: _CLIP - 1]}…"
    return "<br>".join(map(_entities, textwrap.wrap(line, _WIDTH, break_on_hyphens=False)))


def _entities(line: str) -> str:
    return "".join(
        character if character.isalnum() or character in " …" else f"&#{ord(character)};"
        for character in line
    )
