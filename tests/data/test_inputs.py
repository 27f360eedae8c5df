import io
import json
from pathlib import Path
from unittest.mock import Mock

import pytest

from lit_mtl.data import inputs
from lit_mtl.data.inputs import Input
from lit_mtl.data.tables import open_table
from lit_mtl.errors import DataError


def rows(source: Input) -> list[tuple[str, list[str | None]]]:
    return [
        (text, list(cells))
        for window in source.windows()
        for text, cells in zip(window.texts, window.cells, strict=True)
    ]


def test_texts_pass_over_blank_lines_and_tables_keep_blank_cells(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" one \n\ntwo\n")
    expected = [("one", ["one"]), ("two", ["two"])]
    assert rows(Input(path=tmp_path / "a.txt")) == expected
    assert rows(Input(stream=io.BytesIO(b" one \n\ntwo\n"))) == expected
    assert rows(Input(texts=["one", " ", "two"])) == expected
    (tmp_path / "a.csv").write_text("n,text\n1, one \n2,\n3,two\n")
    assert rows(Input(path=tmp_path / "a.csv")) == [
        ("one", ["1", " one "]),
        ("", ["2", ""]),
        ("two", ["3", "two"]),
    ]


def test_windows_are_counted_and_hold_all_rows_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inputs, "WINDOW", 3)
    texts = [str(number) for number in range(8)]
    windows = list(Input(texts=texts).windows())
    assert [window.number for window in windows] == [0, 1, 2]
    assert [text for window in windows for text in window.texts] == texts


def test_the_column_of_the_sentences_may_be_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"title": "one", "text": "two", "n": 1}) + "\n")
    assert rows(Input(path=path))[0][0] == "two"
    assert rows(Input(path=path, text_column="title"))[0][0] == "one"
    for name in ("body", "n"):
        with pytest.raises(DataError, match=name):
            rows(Input(path=path, text_column=name))
    with pytest.raises(DataError, match="body"):
        Input(path=path, text_column="body").columns()


def test_a_table_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of JSON lines that reads the whole file, for its keys."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n')
    opened = Mock(wraps=open_table)
    monkeypatch.setattr(inputs, "open_table", opened)
    source = Input(path=path)
    assert (source.columns(), dict(source.arrow_only())) == (["text"], {})
    assert rows(source) == [("one", ["one"])]
    opened.assert_called_once_with(path)
