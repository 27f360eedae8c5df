import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.plugin_util import markdown_to_safe_html

from lit_mtl.callbacks.board_text import escaped, markdown_table
from lit_mtl.errors import printable

HEADERS = ["row", "text"]

TABLE = {"table", "thead", "tbody", "tr", "th", "td"}


def cells(table: str) -> list[str]:
    """The cells that TensorBoard shows of a table, as a browser reads them."""
    return [
        html.unescape(cell.replace("<br>", " "))
        for cell in re.findall(r"<td>(.*?)</td>", markdown_to_safe_html(table))
    ]


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '<img src=x onerror="alert(1)">',
        "[click](javascript:alert(1)) ![x](http://example.org/x.png)",
        "a | b || c",
        "**bold** _it_ `code` ~~no~~ # head",
        "\\| \\\\ &amp; &#60;b&#62; &lt;b&gt;",
        "a<br>b",
        "- list",
        "1. list",
        "http://example.org/?a=1&b=2",
        "ümlaut 影评 🎬",
    ],
)
def test_hostile_text_is_shown_as_it_is(text: str) -> None:
    shown = markdown_to_safe_html(markdown_table(HEADERS, [["a.txt:1", text]], empty="none"))
    assert set(re.findall(r"<(\w+)", shown)) - {"br"} == TABLE
    assert cells(markdown_table(HEADERS, [["a.txt:1", text]], empty="none")) == ["a.txt:1", text]


@given(st.lists(st.text(max_size=40), min_size=1, max_size=3))
def test_every_text_is_one_cell_of_one_row(texts: list[str]) -> None:
    table = markdown_table(HEADERS, [["x", text] for text in texts], empty="none")
    found = cells(table)
    assert found[::2] == ["x"] * len(texts)
    assert ["".join(text.split()) for text in found[1::2]] == [
        "".join(printable(" ".join(text.split())).split()) for text in texts
    ]


def test_long_text_is_clipped_and_no_rows_are_said() -> None:
    lines = html.unescape(escaped("a " * 10_000)).split("<br>")
    assert len(" ".join(lines)) == 200
    assert max(map(len, lines)) <= 40
    assert escaped("x" * 100).count("<br>") == 2
    assert escaped("a\tb\n c\x1b") == "a b c&#92;x1b"
    assert markdown_table(HEADERS, [], empty="none") == "none"
