"""A published list of splits decides, whatever way its sentences are written."""

from pathlib import Path

import pytest

from lit_mtl.data.preparation import Preparation
from lit_mtl.data.sources import Source, find_sources, refuse_wrong_sources
from lit_mtl.data.split_list import open_split_list
from lit_mtl.data.splits import SPLITS, Splitter
from lit_mtl.errors import ConfigError, DataError, MissingInputError
from tests.data.corpora import TASKS, TOKENIZER, build, texts
from tests.data.test_joining import table

TREEBANK = {
    # as the treebank writes it, its set, and as a person does
    "The `` Conan '' of Jean-Claud isn\\/was n't -LRB- Wendigo is -RRB- it .": (
        "1",
        "The ''Conan'' of Jean Claud isn/wasn't (Wendigo is) it.",
    ),
    "But in Imax 3-D , the clichÃ©s disappear": ("2", "But in Imax 3 D, the clichés disappear"),
    "Effective but too-tepid biopic": ("3", "effective, but too tepid biopic"),
    "...": ("2", "!!"),
}


def treebank(folder: Path) -> Path:
    folder.mkdir()
    rows = list(enumerate(TREEBANK.items(), start=1))
    sentences = "".join(f"{number}\t{text}\n" for number, (text, _) in rows)
    (folder / "datasetSentences.txt").write_text(f"sentence_index\tsentence\n{sentences}")
    sets = "".join(f"{number},{label}\n" for number, (_, (label, _)) in rows)
    (folder / "datasetSplit.txt").write_text(f"sentence_index,splitset_label\n{sets}")
    return folder


def test_the_treebanks_sentences_are_found_as_people_write_them(tmp_path: Path) -> None:
    found = open_split_list(treebank(tmp_path / "sst"))
    splits = {text: found.split(text) for _, text in TREEBANK.values()}
    assert list(splits.values()) == ["train", "test", "val", None]
    assert found.split("Effective but too tepid") is None
    assert [file.name for file in found.files] == ["datasetSentences.txt", "datasetSplit.txt"]


def test_a_table_is_compared_as_sentences_are_everywhere(tmp_path: Path) -> None:
    path = table(
        tmp_path / "a.tsv", "split\ttext", "dev\tÉlan  vital", "train\tx", "Test\tX", "train\tX"
    )
    found = open_split_list(Path(path))
    assert found.split(" élan vital") == "val"
    assert found.split("elan vital") is None
    assert found.split("x") == "test", "test goes before train, wherever it stands"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("datasetSplit.txt", None, r"datasetSplit\.txt: expected a file of the Stanford"),
        (
            "datasetSplit.txt",
            "h\n1,4\n",
            r"datasetSplit\.txt:2: expected a set out of 1, 2, 3; .*'4'",
        ),
        (
            "datasetSplit.txt",
            "h\n1 1\n",
            r"datasetSplit\.txt:2: expected two cells with ',' between",
        ),
        (
            "datasetSplit.txt",
            "h\n1,1\n",
            r"datasetSentences\.txt:3: expected a sentence whose set .* 2",
        ),
    ],
)
def test_what_is_no_treebank_is_refused(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    folder = treebank(tmp_path / "sst")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises((DataError, MissingInputError), match=message):
        open_split_list(folder)


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"a\.tsv:1: expected the column 'split'; found the columns"
    ):
        open_split_list(Path(table(tmp_path / "a.tsv", "text\tpart", "x\ttest")))
    with pytest.raises(
        DataError, match=r"b\.tsv:2: expected a split out of train, .*; found 'all'"
    ):
        open_split_list(Path(table(tmp_path / "b.tsv", "text\tsplit", "x\tall")))
    with pytest.raises(MissingInputError, match="nowhere"):
        open_split_list(tmp_path / "nowhere.tsv")


def test_a_source_has_the_splits_of_its_list_and_counts_what_is_not_in_it(tmp_path: Path) -> None:
    rows = [f"text {n}\t{n % 3}" for n in range(60)]
    path = table(tmp_path / "a.tsv", "text\tscore", *rows)
    names = ("train", "dev", "test")
    listed = table(
        tmp_path / "list.tsv", "text\tsplit", *[f"TEXT {n}\t{names[n % 3]}" for n in range(1, 60)]
    )
    built = build({"a": Source(path=path, split_list=listed)}, val=0.5, test=0.3)
    for split, rest in zip(SPLITS, range(3), strict=True):
        wanted = {f"text {n}" for n in range(1, 60) if n % 3 == rest}
        assert set(texts(built, split)) == wanted
    assert built.readings["score"].dropped["not in the split list"].examples == [f"{path}:2"]
    other = table(tmp_path / "other.tsv", "text\tsplit", "else\ttest")
    with pytest.raises(DataError, match=r"a\.tsv: .* found none, 60 not in the split list"):
        build({"a": Source(path=path, split_list=other)})


def test_a_list_in_the_folder_of_the_data_is_not_said_to_be_of_no_use(tmp_path: Path) -> None:
    table(tmp_path / "scores.tsv", "text\tscore", "x\t1")
    listed = table(tmp_path / "list.tsv", "text\tsplit", "x\ttrain")
    findings = find_sources({"a": Source(path=str(tmp_path), split_list=listed)}, TASKS)
    assert findings.unused == []


@pytest.mark.parametrize("other", ["split", "val_path", "test_path"])
def test_splits_come_from_one_place(other: str) -> None:
    source = Source(path="a", split_list="b", **{other: "c"})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=rf"source 'x' .* from one place, .* and `{other}`"):
        refuse_wrong_sources({"x": source})


def test_prepared_data_are_old_when_the_list_has_changed(tmp_path: Path) -> None:
    path = table(tmp_path / "a.tsv", "text\tscore", *[f"text {n}\t1" for n in range(9)])
    listed = Path(
        table(tmp_path / "list.tsv", "text\tsplit", *[f"text {n}\ttrain" for n in range(9)])
    )
    preparation = Preparation(
        sources={"a": Source(path=path, split_list=str(listed))},
        tasks=TASKS,
        splitter=Splitter(val_fraction=0, test_fraction=0),
        stratify=None,
        contradictions="error",
        tokenizer=TOKENIZER,
    )
    first = preparation.ensure_in(tmp_path / "cache")
    assert preparation.ensure_in(tmp_path / "cache") == first
    listed.write_text(listed.read_text().replace("8\ttrain", "8\ttest"))
    assert preparation.ensure_in(tmp_path / "cache") != first
