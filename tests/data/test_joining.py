import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lit_mtl.data import scanning
from lit_mtl.data.joining import Contradictions
from lit_mtl.data.sources import Source
from lit_mtl.data.splits import SPLITS, Split
from lit_mtl.errors import ConfigError, DataError
from lit_mtl.tasks import Classification, Multilabel, Regression
from lit_mtl.tasks.base import Task
from tests.data.corpora import TASKS, build, targets, texts


def files(folder: Path, *, positive: str = "", negative: str = "", scores: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "positive.txt").write_text(positive)
    (folder / "negative.txt").write_text(negative)
    (folder / "scores.tsv").write_text(f"text\tscore\n{scores}")
    return folder


def table(path: Path, header: str, *rows: str) -> str:
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def test_rows_are_joined_by_text_and_missing_targets_stay_missing(tmp_path: Path) -> None:
    folder = files(
        tmp_path / "in",
        positive="both\nlabel only\n",
        negative="bad\n",
        scores="both\t2\nscore only\t-1\n  bad \t-3\nblank\t\n",
    )
    built = build(folder)
    assert targets(built) == {
        "bad": {"sentiment": 0, "score": -3.0},
        "both": {"sentiment": 1, "score": 2.0},
        "label only": {"sentiment": 1},
        "score only": {"score": -1.0},
    }
    assert {name: reading.read for name, reading in built.readings.items()} == {
        "sentiment": 3,
        "score": 4,
    }
    missing = built.readings["score"].dropped["without a target"]
    assert missing.examples == [f"{folder / 'scores.tsv'}:5"]
    assert [built.labelled("train", name) for name in TASKS] == [3, 3]
    assert built.where(*[built.splits["train"][3][name] for name in ("file", "number")]) == (
        f"{folder / 'scores.tsv'}:3"
    )


def test_labels_are_resolved_and_the_score_is_measured_on_training_rows(tmp_path: Path) -> None:
    built = build(files(tmp_path / "in", positive="a\n", negative="b\n", scores="a\t1\nb\t3\n"))
    assert built.tasks["sentiment"] == Classification(labels=("negative", "positive"))
    assert built.tasks["score"] == Regression(low=-4, high=4, center=2.0, scale=1.0)


def test_a_score_of_the_test_split_does_not_change_the_unit(tmp_path: Path) -> None:
    rows = [f"sentence {number}" for number in range(40)]

    def unit_and_held_out(held_out: set[str], value: int) -> tuple[Task, set[str]]:
        scores = "".join(f"{t}\t{value if t in held_out else len(t) % 3}\n" for t in rows)
        folder = files(tmp_path / "in", positive="p\n", negative="n\n", scores=scores)
        built = build(folder, val=0.2, test=0.2)
        return built.tasks["score"], {*texts(built, "val"), *texts(built, "test")}

    _, held_out = unit_and_held_out(set(), 0)
    assert held_out
    assert unit_and_held_out(held_out, 0) == unit_and_held_out(held_out, 4)
    assert unit_and_held_out(set(rows[:9]), 0)[0] != unit_and_held_out(set(rows[:9]), 4)[0]


def test_repeated_scores_are_averaged_and_counted(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", positive="a\na\n", negative="b\n", scores="a\t1\na\t2\n")
    built = build(folder)
    dropped = {name: built.readings[name].dropped["repeated"].examples for name in TASKS}
    assert dropped == {
        "sentiment": [f"{folder / 'positive.txt'}:2"],
        "score": [f"{folder / 'scores.tsv'}:3"],
    }
    assert targets(built)["a"]["score"] == 1.5


def test_a_sentence_with_two_labels_is_refused_with_both_places(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", positive="odd\n", negative="fine\nodd\n")
    (folder / "scores.tsv").unlink()
    with pytest.raises(
        DataError, match=r"negative\.txt:2 says negative; .*positive\.txt:1 says pos"
    ):
        build(folder)


def test_a_contradiction_is_dropped_or_decided_as_asked_and_kept_in_mind(tmp_path: Path) -> None:
    folder = files(
        tmp_path / "in",
        positive="odd\nodd\nfine\neven\n",
        negative="odd\neven\nbad\n",
        scores="even\t1\n",
    )
    odd = f"{folder / 'negative.txt'}:1 says negative; {folder / 'positive.txt'}:1 says positive"
    found = {}
    ways: tuple[Contradictions, ...] = ("drop", "keep")
    for way in ways:
        built = build(folder, contradictions=way)
        found[way] = targets(built)
        reading = built.readings["sentiment"]
        assert reading.contradictory == len(reading.contradictions) == 2
        assert str(reading.contradictions[0]).startswith(odd)
        dropped = {reason: places.count for reason, places in reading.dropped.items()}
        assert (dropped["contradictory"], dropped["repeated"]) == ((5, 0), (0, 3))[way == "keep"]
        assert reading.read == sum(dropped.values()) + built.labelled("train", "sentiment")
    rest = {"fine": {"sentiment": 1}, "bad": {"sentiment": 0}}
    assert found["drop"] == {"even": {"score": 1.0}, **rest}
    # two against one; of one against one that which was read first
    assert found["keep"] == {
        "odd": {"sentiment": 1},
        "even": {"sentiment": 0, "score": 1.0},
        **rest,
    }


def test_blank_lines_are_counted_and_no_rows(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", positive="a\n\n \nb\n", negative="c", scores="a\t1\n\t2\n\n")
    built = build(folder)
    assert built.readings["sentiment"].dropped["blank"].examples == [
        f"{folder / 'positive.txt'}:{line}" for line in (2, 3)
    ]
    assert built.readings["score"].dropped["blank"].examples == [f"{folder / 'scores.tsv'}:3"]
    assert texts(built) == ["c", "a", "b"]


def test_a_wrong_target_is_refused_with_file_line_and_range(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", positive="a\n", negative="b\n", scores="a\t1\nb\t7\n")
    with pytest.raises(DataError, match=r"scores\.tsv:3: .*-4 to 4; found 7"):
        build(folder)


def test_a_task_without_a_target_or_with_one_label_is_refused_by_file(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", positive="a\n", negative="b\n", scores="a\t\n")
    with pytest.raises(DataError, match=r"scores\.tsv: expected targets for the task 'score'"):
        build(folder)
    one = table(tmp_path / "labels.tsv", "text\tlabel", "a\tonly")
    with pytest.raises(DataError, match=r"labels\.tsv: .*two or more.*only"):
        build({"one": Source(path=one)})


def test_a_sentence_in_several_label_files_has_all_their_labels(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for label, lines in {"plot": "both\none\n", "actors": "both\n", "music": "two\n"}.items():
        (folder / f"{label}.txt").write_text(lines)
    built = build(folder, tasks={"aspects": Multilabel()})
    describe = built.tasks["aspects"].describe
    found = {text: describe(tuple(row["aspects"])) for text, row in targets(built).items()}
    assert found == {"both": "actors|plot", "one": "plot", "two": "music"}
    reading = built.readings["aspects"]
    assert reading.dropped["repeated"].examples == [f"{folder / 'plot.txt'}:1"]
    assert reading.contradictions == []


def test_what_cannot_be_measured_on_the_training_rows_is_refused_by_file(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", positive="a\n", negative="b\n", scores="a\t2\nb\t2\n")
    with pytest.raises(DataError, match=r"scores\.tsv: Expected scores that differ.*'score'"):
        build(folder, tasks={"score": Regression()})
    labels = Classification(labels=("negative", "odd", "positive"), class_weights="balanced")
    with pytest.raises(DataError, match=rf"{folder}: .*none of odd \(task 'l'\)"):
        build(folder, tasks={"l": labels})


def test_what_an_open_task_cannot_read_is_refused_where_it_stands_first(tmp_path: Path) -> None:
    path = table(tmp_path / "a.tsv", "text\tscore", "a\t1", "b\t3", "c\tthree", "d\tthree")
    with pytest.raises(DataError, match=r"a\.tsv:4: expected a number.*'three'"):
        build({"a": Source(path=path)}, tasks={"score": Regression()})


def test_an_open_task_does_not_fill_memory_with_its_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "_MOST_CELLS", 3)
    path = table(tmp_path / "a.tsv", "text\tscore", *[f"t {n}\t{n}" for n in range(9)])
    with pytest.raises(DataError, match=r"a\.tsv:5: .*more than 3 different .*ends of its range"):
        build({"a": Source(path=path)}, tasks={"score": Regression()})
    declared = {"score": Regression(low=0, high=9)}
    assert len(texts(build({"a": Source(path=path)}, tasks=declared))) == 9


def test_case_and_new_rows_do_not_move_a_sentence_between_splits(tmp_path: Path) -> None:
    old = "".join(f"row {number}\n" for number in range(200))
    new = "".join(f"new {number}\nROW {number}\n" for number in range(200))
    splits = []
    for positive in (old, new + old):
        folder = files(tmp_path / "in", positive=positive, negative="bad\n", scores="bad\t-1\n")
        built = build(folder, val=0.2, test=0.2)
        splits.append({text: split for split in SPLITS for text in texts(built, split)})
    assert splits[0].items() <= splits[1].items()
    assert all(splits[1][f"row {n}"] == splits[1][f"ROW {n}"] for n in range(200))


def variant(text: str, draw: random.Random) -> str:
    return draw.choice([text, text.upper(), f"  {text}", text.replace(" ", "  ")])


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), stratify=st.booleans(), parts=st.sampled_from([1, 7]))
def test_no_normalised_text_stands_in_two_splits_and_no_row_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, stratify: bool, parts: int
) -> None:
    """Whatever the rows say of split and group, and into however many parts they are dealt."""
    monkeypatch.setattr("lit_mtl.data.joining.number_of_parts", lambda _: parts)
    draw = random.Random(seed)
    rows = [
        f"{variant(f'text {draw.randrange(40)}', draw)}\t{draw.choice('ab')}\t{draw.randrange(9)}"
        f"\t{draw.choice(['train', 'dev', 'test'])}\t{draw.choice(['', 'g1', 'g2', 'g3'])}"
        for _ in range(120)
    ]
    rows += [f"one {letter}\t{letter}\t1\ttrain\t" for letter in "ab"]
    path = table(tmp_path / "a.tsv", "text\tlabel\tscore\tpart\tdoc", *rows)
    source = Source(
        path=path,
        split="part" if draw.random() < 0.5 else None,
        group="doc" if not stratify and draw.random() < 0.5 else None,
    )
    built = build(
        {"a": source},
        tasks={"label": Classification(), "score": Regression(low=0, high=9)},
        val=0.2,
        test=0.3,
        contradictions=draw.choice(["drop", "keep"]),
        stratify="label" if stratify else None,
    )
    where = {split: {" ".join(t.lower().split()) for t in texts(built, split)} for split in SPLITS}
    assert sum(map(len, where.values())) == len(set().union(*where.values()))
    for name, reading in built.readings.items():
        kept = sum(built.labelled(split, name) for split in SPLITS)
        assert reading.read == kept + sum(places.count for places in reading.dropped.values())


def test_parts_change_nothing_but_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "_CHUNK", 7)  # so that parts are written more than once
    rows = [f"text {n % 90}\t{'ab'[n % 90 % 2]}\t{n % 5}" for n in range(150)]
    path = table(tmp_path / "a.tsv", "text\tsentiment\tscore", *rows)
    found, orders = [], []
    for parts in (1, 5):
        monkeypatch.setattr("lit_mtl.data.joining.number_of_parts", lambda _, n=parts: n)
        built = build({"a": Source(path=path)}, val=0.2, test=0.2)
        counts = {reason: d.count for reason, d in built.readings["score"].dropped.items()}
        found.append([*(targets(built, split) for split in SPLITS), counts, built.tasks])
        orders.append(texts(built))
    assert found[0] == found[1]
    assert orders[0] != orders[1]


def test_large_files_are_dealt_into_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "_PART_BYTES", 100)
    rows = [f"text {n}\t{n % 5}" for n in range(90)]
    path = table(tmp_path / "a.tsv", "text\tscore", *rows)
    assert len(texts(build({"a": Source(path=path)}))) == 90


def split_counts(tmp_path: Path, **options: Any) -> dict[Split, Counter[float]]:
    rows = [f"text {n}\t{'rare' if n % 10 == 0 else 'often'}" for n in range(1000)]
    path = table(tmp_path / "a.tsv", "text\tsentiment", *rows)
    built = build({"a": Source(path=path)}, val=0.1, test=0.2, **options)
    return {
        split: Counter(values["sentiment"] for values in targets(built, split).values())
        for split in SPLITS
    }


def test_each_label_gets_its_share_of_a_stratified_split(tmp_path: Path) -> None:
    assert split_counts(tmp_path, stratify="sentiment") == {
        "train": {0: 630, 1: 70},
        "val": {0: 90, 1: 10},
        "test": {0: 180, 1: 20},
    }
    assert split_counts(tmp_path)["test"] != {0: 180, 1: 20}
    with pytest.raises(ConfigError, match=r"`stratify`.*\['sentiment'\], but got 'score'"):
        split_counts(tmp_path, stratify="score")


@pytest.mark.parametrize("stratify", [None, "sentiment"])
def test_every_sentence_is_in_the_test_split_of_one_fold(
    tmp_path: Path, stratify: str | None
) -> None:
    rows = [f"text {n}\t{'ab'[n % 2]}" for n in range(300)]
    path = table(tmp_path / "a.tsv", "text\tsentiment", *rows)
    found: Counter[str] = Counter()
    for fold in range(3):
        built = build({"a": Source(path=path)}, val=0.1, folds=3, fold=fold, stratify=stratify)
        assert sum(len(texts(built, split)) for split in SPLITS) == 300
        assert 0.05 < len(texts(built, "val")) / 300 < 0.15
        found.update(texts(built, "test"))
    assert set(found.values()) == {1}
    assert len(found) == 300


def test_files_and_columns_say_the_split_and_a_hash_gives_what_they_lack(tmp_path: Path) -> None:
    train = table(tmp_path / "a.tsv", "text\tscore", *[f"a {n}\t{n % 3}" for n in range(100)])
    test = table(tmp_path / "b.tsv", "text\tscore", *[f"b {n}\t1" for n in range(9)], "a 0\t2")
    built = build({"all": Source(path=train, test_path=test)}, val=0.1, test=0.3)
    assert sorted(texts(built, "test")) == sorted(["a 0", *(f"b {n}" for n in range(9))])
    # the row of `a` that stands in the test file as well is left out of the training, and said
    assert built.readings["score"].dropped["in another split"].examples == [f"{train}:2"]
    assert len(texts(built, "train")) + len(texts(built, "val")) == 99
    assert 3 < len(texts(built, "val")) < 20
    rows = [f"c {n}\t{n % 3}\t{('Train', 'validation', 'TEST')[n % 3]}" for n in range(30)]
    path = table(tmp_path / "c.tsv", "text\tscore\tpart", *rows)
    built = build({"c": Source(path=path, split="part")}, val=0.1, test=0.1)
    assert {split: len(texts(built, split)) for split in SPLITS} == dict.fromkeys(SPLITS, 10)
    path = table(tmp_path / "d.tsv", "text\tscore\tpart", "x\t1\ttrain", "y\t1\tholdout")
    with pytest.raises(DataError, match=r"d\.tsv:3: expected a split out of train, .*'holdout'"):
        build({"d": Source(path=path, split="part")})


def test_files_of_a_split_need_neither_the_column_of_splits_nor_that_of_groups(
    tmp_path: Path,
) -> None:
    """And what they say there moves no row out of the split that the file is for."""
    rows = [f"a {n}\t{n % 3}\t{('train', 'val')[n % 2]}\td{n}" for n in range(20)]
    path = table(tmp_path / "a.tsv", "text\tscore\tpart\tdoc", *rows)
    tests = [f"b {n}\t1\ttrain" for n in range(9)]
    said = table(tmp_path / "b.tsv", "text\tscore\tpart", *tests)
    silent = table(tmp_path / "c.tsv", "text\tscore", "c\t1")
    for test_path, found in ((said, {f"b {n}" for n in range(9)}), (silent, {"c"})):
        source = Source(path=path, test_path=test_path, split="part", group="doc")
        built = build({"a": source}, val=0.3, test=0.3)
        assert set(texts(built, "test")) == found
        assert len(texts(built, "val")) == len(texts(built, "train")) == 10
    labels = files(tmp_path / "labels", positive="x\n", negative="y\n")
    source = Source(path=path, test_path=str(labels), group="doc")
    built = build({"a": source}, val=0.3)
    assert set(texts(built, "test")) == {"x", "y"}


def test_a_test_split_that_files_name_is_no_fold(tmp_path: Path) -> None:
    """It would be the same in each, and what is left would never be tested."""
    path = table(tmp_path / "a.tsv", "text\tscore", *[f"a {n}\t1" for n in range(9)])
    test = table(tmp_path / "b.tsv", "text\tscore", "b\t1")
    with pytest.raises(ConfigError, match=r"`folds` .* the source 'x' names its own"):
        build({"x": Source(path=path, test_path=test)}, val=0.1, folds=3)


def test_a_group_is_never_torn_by_the_hash(tmp_path: Path) -> None:
    rows = [f"text {n}\t{n % 3}\tdocument {n // 10}" for n in range(500)]
    path = table(tmp_path / "a.tsv", "text\tscore\tdoc", *rows)
    built = build({"a": Source(path=path, group="doc")}, val=0.3, test=0.3)
    documents = [{int(t.split()[1]) // 10 for t in texts(built, split)} for split in SPLITS]
    assert all(documents)
    assert sum(map(len, documents)) == 50


def test_text_files_are_split_by_the_groups_of_the_table_beside_them(tmp_path: Path) -> None:
    rows = [f"text {n}\t{n % 3}\tdocument {n // 10}" for n in range(500)]
    # no row is in the order of the documents, and some sentences have a label alone
    lines = [f"TEXT {n}" for n in reversed(range(500))] + [f"alone {n}" for n in range(50)]
    folder = files(
        tmp_path / "own",
        positive="".join(f"{line}\n" for line in lines[::2]),
        negative="".join(f"{line}\n" for line in lines[1::2]),
    )
    table(folder / "scores.tsv", "text\tscore\tdoc", *rows)
    source = Source(path=str(folder), group="doc")
    with pytest.raises(ConfigError, match=r"no groups where `stratify` .* the source 'a' has some"):
        build({"a": source}, val=0.3, test=0.3, stratify="sentiment")
    built = build({"a": source}, val=0.3, test=0.3)
    assert sum(len(texts(built, split)) for split in SPLITS) == 1050
    assert not built.readings["sentiment"].dropped["in another split"].count
    documents = [
        {int(t.split()[1]) // 10 for t in texts(built, split) if "alone" not in t}
        for split in SPLITS
    ]
    assert all(documents)
    assert sum(map(len, documents)) == 50


@pytest.mark.parametrize("parts", [1, 7])
def test_a_task_alone_is_split_as_beside_the_task_whose_table_has_the_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    """The table gives its groups and nothing else: no sentence, no target, no dropped row."""
    monkeypatch.setattr("lit_mtl.data.joining.number_of_parts", lambda _: parts)
    lines = [f"TEXT {n}" for n in range(0, 500, 2)] + ["alone"]
    folder = files(
        tmp_path / "own",
        positive="".join(f"{line}\n" for line in lines[::2]),
        negative="".join(f"{line}\n" for line in lines[1::2]),
    )
    # some rows of the table have no score, some no group, one no text
    rows = [f"text {n}\t{n % 3 or ''}\t{f'd{n // 10}' if n % 7 else ''}" for n in range(500)]
    table(folder / "scores.tsv", "text\tscore\tdoc", *rows, "\t1\td3")
    source = Source(path=str(folder), group="doc")
    both = build({"a": source}, val=0.3, test=0.3)
    labelled = {
        split: {text for text, found in targets(both, split).items() if "sentiment" in found}
        for split in SPLITS
    }
    alone = build({"a": source}, tasks={"sentiment": TASKS["sentiment"]}, val=0.3, test=0.3)
    assert {split: set(texts(alone, split)) for split in SPLITS} == labelled
    assert all(labelled.values())
    assert sum(len(texts(alone, split)) for split in SPLITS) == len(lines)
    reading = alone.readings["sentiment"]
    assert (reading.read, sum(d.count for d in reading.dropped.values())) == (len(lines), 0)
    documents = [
        {
            int(t.split()[1]) // 10
            for t in texts(alone, split)
            if t != "alone" and int(t.split()[1]) % 7
        }
        for split in SPLITS
    ]
    assert sum(map(len, documents)) == 50


def test_sources_with_tasks_of_their_own_are_joined_by_text(tmp_path: Path) -> None:
    one = files(tmp_path / "one", positive="shared\nx\n", negative="y\n", scores="shared\t1\n")
    two = files(tmp_path / "two", positive="z\n", negative="shared\n", scores="z\t3\n")
    kinds = {"mood": Classification(), "stars": Regression(low=0, high=5)}
    built = build(
        {
            name: Source(path=str(path), tasks={f"{name}_mood": "label", f"{name}_stars": "score"})
            for name, path in (("one", one), ("two", two))
        },
        tasks={
            f"{source}_{kind}": task for source in ("one", "two") for kind, task in kinds.items()
        },
    )
    assert targets(built)["shared"] == {"one_mood": 1, "one_stars": 1.0, "two_mood": 0}
    assert targets(built)["z"] == {"two_mood": 1, "two_stars": 3.0}
    assert built.sources == ["one", "two"]
    rows = {row["text"]: built.sources[row["source"]] for row in built.splits["train"]}
    assert rows == {"y": "one", "shared": "one", "x": "one", "z": "two"}
