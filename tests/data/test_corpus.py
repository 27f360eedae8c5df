from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_mtl.data.corpus import SPLITS, Contradictions, Corpus, build_corpus, split_of, text_key
from lit_mtl.errors import ConfigError, DataError
from lit_mtl.tasks import Classification, Multilabel, Regression
from lit_mtl.tasks.base import Target, Task

TASKS: dict[str, Task] = {"sentiment": Classification(), "score": Regression(low=-4, high=4)}


def files(folder: Path, *, positive: str = "", negative: str = "", scores: str = "") -> None:
    (folder / "positive.txt").write_text(positive)
    (folder / "negative.txt").write_text(negative)
    (folder / "scores.tsv").write_text(f"text\tscore\n{scores}")


def corpus(folder: Path, *, val: float = 0.0, test: float = 0.0) -> Corpus:
    sources = {"sentiment": folder, "score": folder / "scores.tsv"}
    return build_corpus(sources, tasks=TASKS, val_fraction=val, test_fraction=test)


def test_rows_are_joined_by_text_and_missing_targets_stay_missing(tmp_path: Path) -> None:
    files(
        tmp_path,
        positive="both\nlabel only\n",
        negative="bad\n",
        scores="both\t2\nscore only\t-1\n  bad \t-3\nblank\t\n",
    )
    built = corpus(tmp_path)
    found = {example.text: example.targets for example in built.splits["train"]}
    assert found == {
        "bad": {"sentiment": 0, "score": -3.0},
        "both": {"sentiment": 1, "score": 2.0},
        "label only": {"sentiment": 1},
        "score only": {"score": -1.0},
    }
    assert {name: reading.read for name, reading in built.readings.items()} == {
        "sentiment": 3,
        "score": 4,
    }
    assert built.readings["score"].dropped["without a target"] == [f"{tmp_path / 'scores.tsv'}:5"]
    assert [built.labelled("train", name) for name in TASKS] == [3, 3]


def test_labels_are_resolved_and_the_score_is_measured_on_training_rows(tmp_path: Path) -> None:
    files(tmp_path, positive="a\n", negative="b\n", scores="a\t1\nb\t3\n")
    built = corpus(tmp_path)
    assert built.tasks["sentiment"] == Classification(labels=("negative", "positive"))
    assert built.tasks["score"] == Regression(low=-4, high=4, center=2.0, scale=1.0)


def test_a_score_of_the_test_split_does_not_change_the_unit(tmp_path: Path) -> None:
    texts = [f"sentence {number}" for number in range(40)]
    held_out = [t for t in texts if split_of(t, val_fraction=0.2, test_fraction=0.2) != "train"]
    assert held_out
    units = []
    for value in (0, 4):
        scores = "".join(f"{t}\t{value if t in held_out else len(t) % 3}\n" for t in texts)
        files(tmp_path, positive="p\n", negative="n\n", scores=scores)
        units.append(corpus(tmp_path, val=0.2, test=0.2).tasks["score"])
    assert units[0] == units[1]


def test_repeated_scores_are_averaged_and_counted(tmp_path: Path) -> None:
    files(tmp_path, positive="a\na\n", negative="b\n", scores="a\t1\na\t2\n")
    built = corpus(tmp_path)
    assert built.readings["sentiment"].dropped["repeated"] == [f"{tmp_path / 'positive.txt'}:2"]
    assert built.readings["score"].dropped["repeated"] == [f"{tmp_path / 'scores.tsv'}:3"]
    assert built.splits["train"][1].targets["score"] == 1.5


def test_a_sentence_with_two_labels_is_refused_with_both_places(tmp_path: Path) -> None:
    files(tmp_path, positive="odd\n", negative="fine\nodd\n")
    with pytest.raises(
        DataError, match=r"negative\.txt:2 says negative; .*positive\.txt:1 says pos"
    ):
        corpus(tmp_path)


def test_a_contradiction_is_dropped_or_decided_as_asked_and_kept_in_mind(tmp_path: Path) -> None:
    files(tmp_path, positive="odd\nodd\nfine\n", negative="odd\neven\nbad\n", scores="even\t1\n")
    with (tmp_path / "positive.txt").open("a") as file:
        file.write("even\n")
    sources = {"sentiment": tmp_path, "score": tmp_path / "scores.tsv"}
    odd = (
        f"{tmp_path / 'negative.txt'}:1 says negative; {tmp_path / 'positive.txt'}:1 says positive"
    )
    found: dict[str, dict[str, dict[str, Target]]] = {}
    ways: tuple[Contradictions, ...] = ("drop", "keep")
    for way in ways:
        built = build_corpus(
            sources, tasks=TASKS, val_fraction=0, test_fraction=0, contradictions=way
        )
        found[way] = {example.text: example.targets for example in built.splits["train"]}
        reading = built.readings["sentiment"]
        assert len(reading.contradictions) == 2
        assert str(reading.contradictions[0]).startswith(odd)
        dropped = {reason: len(places) for reason, places in reading.dropped.items()}
        assert (dropped["contradictory"], dropped["repeated"]) == ((5, 0), (0, 3))[way == "keep"]
        assert reading.read == sum(dropped.values()) + sum(
            "sentiment" in t for t in found[way].values()
        )
    rest = {"fine": {"sentiment": 1}, "bad": {"sentiment": 0}}
    assert found["drop"] == {"even": {"score": 1.0}, **rest}
    # two against one; of one against one that which was read first
    assert found["keep"] == {
        "odd": {"sentiment": 1},
        "even": {"sentiment": 0, "score": 1.0},
        **rest,
    }


def test_blank_lines_are_counted_and_no_rows(tmp_path: Path) -> None:
    files(tmp_path, positive="a\n\n \nb\n", negative="c", scores="a\t1\n\t2\n\n")
    built = corpus(tmp_path)
    assert built.readings["sentiment"].dropped["blank"] == [
        f"{tmp_path / 'positive.txt'}:{line}" for line in (2, 3)
    ]
    assert built.readings["score"].dropped["blank"] == [f"{tmp_path / 'scores.tsv'}:3"]
    assert [example.text for example in built.splits["train"]] == ["c", "a", "b"]


def test_a_wrong_target_is_refused_with_file_line_and_range(tmp_path: Path) -> None:
    files(tmp_path, positive="a\n", negative="b\n", scores="a\t1\nb\t7\n")
    with pytest.raises(DataError, match=r"scores\.tsv:3: .*-4 to 4; found 7"):
        corpus(tmp_path)


def test_a_task_without_a_target_or_with_one_label_is_refused_by_file(tmp_path: Path) -> None:
    files(tmp_path, positive="a\n", negative="b\n", scores="a\t\n")
    with pytest.raises(DataError, match=r"scores\.tsv: expected targets for the task 'score'"):
        corpus(tmp_path)
    table = tmp_path / "labels.tsv"
    table.write_text("text\tlabel\na\tonly\n")
    with pytest.raises(DataError, match=r"labels\.tsv: .*two or more.*only"):
        build_corpus({"sentiment": table}, tasks=TASKS, val_fraction=0, test_fraction=0)


def test_a_folder_cannot_hold_scores(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="regression task 'score'"):
        build_corpus({"score": tmp_path}, tasks=TASKS, val_fraction=0, test_fraction=0)


def test_a_sentence_in_several_label_files_has_all_their_labels(tmp_path: Path) -> None:
    for label, texts in {"plot": "both\none\n", "actors": "both\n", "music": "two\n"}.items():
        (tmp_path / f"{label}.txt").write_text(texts)
    tasks: dict[str, Task] = {"aspects": Multilabel()}
    built = build_corpus({"aspects": tmp_path}, tasks=tasks, val_fraction=0, test_fraction=0)
    task = built.tasks["aspects"]
    found = {x.text: task.describe(x.targets["aspects"]) for x in built.splits["train"]}
    assert found == {"both": "actors|plot", "one": "plot", "two": "music"}
    assert built.readings["aspects"].dropped["repeated"] == [f"{tmp_path / 'plot.txt'}:1"]
    assert built.readings["aspects"].contradictions == []


def test_what_cannot_be_measured_on_the_training_rows_is_refused_by_file(tmp_path: Path) -> None:
    files(tmp_path, positive="a\n", negative="b\n", scores="a\t2\nb\t2\n")
    scores: dict[str, Task] = {"score": Regression()}
    with pytest.raises(DataError, match=r"scores\.tsv: Expected scores that differ.*'score'"):
        build_corpus(
            {"score": tmp_path / "scores.tsv"}, tasks=scores, val_fraction=0, test_fraction=0
        )
    labels: dict[str, Task] = {
        "l": Classification(labels=("negative", "odd", "positive"), class_weights="balanced")
    }
    with pytest.raises(DataError, match=rf"{tmp_path}: .*none of odd \(task 'l'\)"):
        build_corpus({"l": tmp_path}, tasks=labels, val_fraction=0, test_fraction=0)


def test_fractions_must_leave_something_to_train_on(tmp_path: Path) -> None:
    for val, test in ((0.5, 0.5), (-0.1, 0.1), (float("nan"), 0.1)):
        with pytest.raises(ConfigError, match="val_fraction"):
            corpus(tmp_path, val=val, test=test)


@given(st.text(max_size=30))
def test_white_space_form_and_case_do_not_move_a_sentence(text: str) -> None:
    def split(variant: str) -> str:
        return split_of(text_key(variant), val_fraction=0.3, test_fraction=0.3)

    assert split(f"  {text} \n") == split(text)
    assert split("caf\u00e9") == split("CAFE\u0301")
    assert text_key("a  b") == "a b" != text_key("A b")


def test_shares_are_those_asked_for() -> None:
    found = [split_of(f"row {n}", val_fraction=0.1, test_fraction=0.2) for n in range(20_000)]
    shares = {split: found.count(split) / len(found) for split in SPLITS}
    assert shares == pytest.approx({"train": 0.7, "val": 0.1, "test": 0.2}, abs=0.01)


def test_new_rows_do_not_move_old_ones_and_no_sentence_is_in_two_splits(tmp_path: Path) -> None:
    old = "".join(f"row {number}\n" for number in range(200))
    new = "".join(f"new {number}\nROW {number}\n" for number in range(200))
    splits = []
    for positive in (old, new + old):
        files(tmp_path, positive=positive, negative="bad\n", scores="bad\t-1\n")
        built = corpus(tmp_path, val=0.2, test=0.2)
        splits.append({x.text: s for s in SPLITS for x in built.splits[s]})
    assert splits[0].items() <= splits[1].items()
    assert all(splits[1][f"row {n}"] == splits[1][f"ROW {n}"] for n in range(200))
