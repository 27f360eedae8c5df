"""Prepared data are found again, noticed to be old, and never torn."""

from pathlib import Path
from typing import Any

import pytest

from lit_mtl.data import preparation
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.data.preparation import Preparation
from lit_mtl.data.splits import SPLITS
from lit_mtl.errors import DataError
from tests.conftest import example_data
from tests.data.test_datamodule import module
from tests.data.test_readers import write


def test_the_second_start_reads_what_the_first_one_prepared(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "a.tsv"
    table.write_text("text\tscore\n" + "".join(f"text {n}\t{n % 5 - 2}\n" for n in range(40)))
    built: list[Path] = []
    original = Preparation._build

    def counted(asked: Preparation, folder: Path, **known: Any) -> None:
        built.append(folder)
        original(asked, folder, **known)

    monkeypatch.setattr(Preparation, "_build", counted)
    prints = []

    def start(**options: Any) -> None:
        data = module(table, tiny_bert, cache_dir=str(tmp_path / "cache"), **options)
        data.setup("fit")
        assert data.corpus is not None
        prints.append(data.corpus.fingerprint)

    start()
    start(batch_size=4, seed=5)
    assert len(built) == 1
    assert prints[0] == prints[1]
    table.write_text(table.read_text() + "one more\t1\n")
    start()
    assert (len(built), len(set(prints))) == (2, 2)
    start(max_length=5)
    start(val_fraction=0.3)
    assert len(built) == 4
    # what is prepared may lie in the folder of the data
    for _ in range(2):
        data = module(tmp_path, tiny_bert, cache_dir=str(tmp_path / "inside"))
        data.prepare_data()
        data.setup("fit")
    assert len(built) == 5


@pytest.mark.parametrize("step", ["find_sources", "build_corpus", "refuse_changed"])
def test_a_file_that_changes_while_it_is_read_is_refused_and_nothing_is_kept(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before the columns, before the rows, or behind them, and though it then is what it was."""
    for name in ("positive", "negative"):
        write(tmp_path / "in" / f"{name}.txt", "".join(f"{name} {n}\n" for n in range(40)))
    write(tmp_path / "in" / "notes" / "not_read.md", "x")
    changing = tmp_path / "in" / "positive.txt"
    content = changing.read_bytes()
    original = vars(preparation)[step]

    def changed_before(*args: Any, **options: Any) -> Any:
        write(changing, "half of i")
        write(tmp_path / "in" / "notes" / "not_read.md", "y")  # is nobody's business
        try:
            return original(*args, **options)
        finally:
            write(changing, content)

    def start() -> SentimentDataModule:
        data = module(tmp_path / "in", tiny_bert, cache_dir=str(tmp_path / "cache"))
        data.prepare_data()
        data.setup("fit")
        return data

    with monkeypatch.context() as patch:
        patch.setattr(preparation, step, changed_before)
        with pytest.raises(DataError, match=rf"{changing}: .*changed meanwhile"):
            start()
    assert list((tmp_path / "cache").iterdir()) == []
    corpus = start().corpus
    assert corpus is not None
    assert sum(len(corpus.splits[split]) for split in SPLITS) == 80


def test_a_sentence_that_is_cut_is_prepared_once(tiny_bert: Path, tmp_path: Path) -> None:
    """Cutting leaves a trace in the tokenizer, which is a part of the key."""
    (tmp_path / "data").mkdir()
    for name in ("positive", "negative"):
        lines = [f"{name} {number} {'so ' * 200}" for number in range(20)]
        (tmp_path / "data" / f"{name}.txt").write_text("\n".join(lines))
    cache = tmp_path / "cache"
    data = example_data(tiny_bert, path=tmp_path / "data", cache_dir=str(cache))
    data.prepare_data()
    before = sorted(cache.rglob("*"))
    data.setup("fit")
    assert before
    assert sorted(cache.rglob("*")) == before
