import json
import math
from pathlib import Path

import numpy as np
import pytest

from lit_mtl.calibration import Calibration
from lit_mtl.commands.results import confusion_table, report, task_table
from lit_mtl.tasks import Classification

RESULT = {
    "n": 4,
    "loss": 0.25,
    "accuracy": 0.75,
    "auroc": None,
    "confusion_matrix": [[1, 1], [0, 2]],
}


def test_the_table_has_a_row_a_split_and_a_dash_for_what_is_undefined() -> None:
    lines = task_table("sentiment", {"val": RESULT, "test": {**RESULT, "n": 5}}).splitlines()
    assert lines[0].split() == ["sentiment", "n", "loss", "accuracy", "auroc"]
    assert lines[2].split() == ["val", "4", "0.2500", "0.7500", "-"]
    assert lines[3].split()[:2] == ["test", "5"]


def test_confusion_is_shown_by_name() -> None:
    lines = confusion_table("s, test", Classification(labels=("a", "b")), RESULT).splitlines()
    assert [line.split()[-2:] for line in lines[2:]] == [["1", "1"], ["0", "2"]]
    assert [line.split()[:2] for line in lines[2:]] == [["truly", "a"], ["truly", "b"]]


def test_of_many_labels_the_most_confused_are_shown_and_the_others_counted() -> None:
    task = Classification(labels=tuple(f"label_{n}" for n in range(200)))
    counts = np.eye(200, dtype=int)
    counts[150, 199] = 5
    result = {**RESULT, "confusion_matrix": counts.tolist()}
    lines = confusion_table("s, test", task, result).splitlines()
    rows = {line.split()[1]: line.split()[2:] for line in lines[2:-1]}
    assert len(rows) == 12
    assert rows["label_150"][-2:] == ["1", "5"]
    assert rows["label_199"][-2:] == ["0", "1"]
    assert lines[-1] == "the 12 most confused of 200 classes"


def test_the_file_holds_everything_and_null_for_what_is_undefined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    results = {"test": {"sentiment": RESULT}}
    tasks = {"sentiment": Classification(labels=("a", "b"))}
    report(results, tasks=tasks, folder=folder, checkpoint="x.ckpt", seconds=90.0)
    content = json.loads((folder / "results.json").read_text())
    assert content["results"] == results
    assert content["tasks"]["sentiment"]["labels"] == ["a", "b"]
    assert (content["checkpoint"], content["training_seconds"]) == ("x.ckpt", 90.0)
    printed = capsys.readouterr().out
    assert str(folder / "results.json") in printed
    assert "1.5 minutes" in printed


def test_a_measure_that_is_not_defined_is_null_and_a_dash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(
        {"test": {"sentiment": RESULT}},
        tasks={"sentiment": Classification(labels=("a", "b"))},
        folder=tmp_path,
        checkpoint="x.ckpt",
        embedding={"kept_similarity": math.nan, "spread": 0.5},
    )
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["embedding"] == {"kept_similarity": None, "spread": 0.5}
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["kept_similarity", "-"] in rows


def test_measures_of_the_embedding_stay_with_the_weights_that_they_are_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of which only the measuring was left has none of its own."""
    task = Classification(labels=("a", "b"))
    for checkpoint, measured in (("1", {"kept_similarity": 0.5}), ("1", None), ("2", None)):
        report(
            {"test": {"sentiment": RESULT}},
            tasks={"sentiment": task},
            folder=tmp_path,
            checkpoint="x.ckpt",
            seconds=1.0,
            calibration=Calibration(checkpoint=checkpoint, tasks={"sentiment": task}, report={}),
            embedding=measured,
        )
        content = json.loads((tmp_path / "results.json").read_text())
        known = {"kept_similarity": 0.5} if checkpoint == "1" else None
        assert content.get("embedding") == known
