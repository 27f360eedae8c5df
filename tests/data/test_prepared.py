from pathlib import Path

import numpy as np
import pytest

from lit_mtl.data import prepared
from lit_mtl.data.sources import Source
from lit_mtl.data.splits import SPLITS
from tests.data.corpora import TOKENIZER, build, texts


def scored(path: Path, rows: list[str]) -> dict[str, Source]:
    path.write_text(
        "text\tscore\n" + "".join(f"{text}\t{n % 5 - 2}\n" for n, text in enumerate(rows))
    )
    return {"a": Source(path=str(path))}


def test_what_is_written_in_pieces_is_what_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = scored(tmp_path / "a.tsv", [f"sentence number {n}" for n in range(50)])
    found = []
    for chunk in (10_000, 7):
        monkeypatch.setattr(prepared, "_CHUNK", chunk)
        built = build(sources, val=0.2, test=0.2)
        rows = {split: built.splits[split][:] for split in SPLITS}
        found.append((rows, built.fingerprint, built.tasks, built.counts))
    assert found[0] == found[1]


def test_ids_are_the_tokenizers_and_row_numbers_count(tmp_path: Path) -> None:
    sentences = [f"sentence number {n}" for n in range(50)]
    built = build(scored(tmp_path / "a.tsv", sentences), val=0.2)
    for split in SPLITS:
        rows = built.splits[split]
        assert list(rows["row_id"]) == list(range(len(rows)))
        for text, ids in zip(rows["text"], rows["input_ids"], strict=True):
            assert ids == TOKENIZER(text)["input_ids"]
        assert built.lengths(split).tolist() == [len(ids) for ids in rows["input_ids"]]
    assert built.source_of("train").dtype == np.int64


def test_long_sentences_are_cut_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TOKENIZER, "model_max_length", 8)
    built = build(scored(tmp_path / "a.tsv", ["short", "a very long sentence", "ok"]))
    assert built.truncated.examples == [f"{tmp_path / 'a.tsv'}:3"]
    long = built.splits["train"]["input_ids"][texts(built).index("a very long sentence")]
    assert (len(long), long[-1]) == (8, TOKENIZER.sep_token_id)


def test_the_fingerprint_follows_texts_targets_and_their_order(tmp_path: Path) -> None:
    files = (["a", "b"], ["a", "b"], ["b", "a"], ["a", "c"])
    prints = [build(scored(tmp_path / "a.tsv", rows)).fingerprint for rows in files]
    (tmp_path / "a.tsv").write_text("text\tscore\na\t-2\nb\t0\n")
    prints.append(build({"a": Source(path=str(tmp_path / "a.tsv"))}).fingerprint)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4
