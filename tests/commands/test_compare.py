"""The command as users run it: real processes, killed and run again."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from lit_mtl.callbacks.kept_rows import ROWS_FILE
from lit_mtl.data.splits import position_of
from tests.conftest import EXAMPLE_FILES, Run, many_sentences
from tests.processes import LIMIT, ended, send, start, wait_for


def first(folder: Path, pattern: str) -> Path:
    """The one path that matches, once it is there."""
    while not (found := list(folder.glob(pattern))):
        wait_for(folder)
    return found[0]


@pytest.mark.slow
def test_it_goes_on_after_a_stop_and_a_kill_and_then_has_a_verdict(
    fit_arguments: list[str],
    tmp_path: Path,
    lit_mtl: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["compare", *fit_arguments, f"--data.path={many_sentences(tmp_path / 'sentences')}"]
    words += ["--data.test_fraction=0.3", "--seeds", "0", "--output", "out"]
    words += ["--data.stratify=sentiment"]
    output = tmp_path / "output.txt"
    runs = tmp_path / "out" / "runs"

    process = start([*words, "--jobs", "2"], folder=tmp_path, output=output)
    checkpoints = first(tmp_path, "out/runs/together-seed_0-*/checkpoints")
    wait_for(checkpoints.parent / "config.yaml")
    send(process, signal.SIGTERM)  # of this process alone, which has to end the other ones too
    assert ended(process) == 143, output.read_text()
    assert not (tmp_path / "out" / "compare.json").exists()

    process = start(words, folder=tmp_path, output=output)
    rows = checkpoints.parent / ROWS_FILE
    wait_for(rows)
    wait_for(checkpoints.parent / "results.json")
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGKILL)
    assert ended(process) == 137
    written = rows.stat().st_mtime_ns

    process = start([*words, "--jobs", "3"], folder=tmp_path, output=output)
    assert ended(process, limit=4 * LIMIT) == 0, output.read_text()  # three runs and more
    said = output.read_text()
    assert "1 of 4 runs are finished already" in said
    assert "`data.stratify` is left out" in said
    assert "run 4 of 4: alone-score-seed_0-" in said
    assert rows.stat().st_mtime_ns == written, "a finished run is not repeated"
    names = sorted(folder.name.rpartition("-seed")[0] for folder in runs.iterdir())
    assert names == ["alone-score", "alone-sentiment", "frozen", "together"]
    assert not list(runs.glob("*/checkpoints"))

    compared = tmp_path / "out" / "compare.json"
    content = compared.read_text()
    tasks = json.loads(content)["tasks"]
    assert set(tasks) == {"sentiment", "score"}
    for name, metric in (("sentiment", "accuracy"), ("score", "pearson")):
        assert tasks[name]["metric"] == metric
        results = json.loads((checkpoints.parent / "results.json").read_text())["results"]["test"]
        together = tasks[name]["variants"]["together"]
        assert together["mean"] == pytest.approx(results[name][metric])
        for against in ("alone", "frozen"):
            found = tasks[name]["differences"][against]
            assert found["rows"] >= 50
            low, high = found["interval"]
            assert low <= found["mean"] <= high
            other = tasks[name]["variants"][against]["mean"]
            assert found["mean"] == pytest.approx(together["mean"] - other)
            assert found["says"] in said

    assert lit_mtl(*words) == 0
    assert "4 of 4 runs are finished already" in capsys.readouterr().out
    assert compared.read_text() == content, "the same runs give the same numbers"


def test_what_cannot_be_compared_is_refused_before_anything_trains(
    fit_arguments: list[str], lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("labels").mkdir()
    for name in ("positive.txt", "negative.txt"):
        shutil.copy(EXAMPLE_FILES / name, "labels")
    Path("named.csv").write_text(
        "text,label,score,part\n"
        + "".join(
            f"sentence {n},{'ab'[n % 2]},{n % 4},{('train', 'val', 'test')[n % 3]}\n"
            for n in range(30)
        )
    )
    named = [
        "--data.path=null",
        "--data.sources",
        '{"one": {"path": "named.csv", "split": "part"}}',
    ]
    Path("list.csv").write_text(Path("named.csv").read_text().replace(",part", ",split"))
    listed = [*named[:2], '{"one": {"path": "named.csv", "split_list": "list.csv"}}']
    for words, message in (
        (["--data.path=labels"], "at least two tasks"),
        (["--data.test_fraction=0"], "There is no test split"),
        (["--data.test_fraction=0.01"], "no sentence"),
        (["--ckpt_path=auto"], "`ckpt_path` cannot be given"),
        ([*named, "--folds", "3"], "the source 'one' says itself"),
        ([*listed, "--folds", "3"], "the source 'one' says itself"),
    ):
        assert lit_mtl("compare", *fit_arguments, *words) == 2, words
        assert message in capsys.readouterr().err, words
    assert not Path("lightning_logs").exists()


def test_a_fold_without_a_target_of_a_task_is_refused_before_anything_trains(
    fit_arguments: list[str], lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """All have a label; a score have only the sentences of two thirds by hash."""
    rows = [
        f"{text},{'ab'[n % 2]},{n % 4 if position_of(text) >= 1 / 3 else ''}"
        for n, text in enumerate(f"sentence {n}" for n in range(90))
    ]
    Path("films.csv").write_text("\n".join(["text,sentiment,score", *rows]) + "\n")
    words = ["compare", *fit_arguments, "--data.path=films.csv", "--data.test_fraction=0.1"]
    assert lit_mtl(*words, "--folds", "3") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "The test split of fold 0 of 3, counted from 0, has no sentence" in said
    assert "'score'" in said
    assert not Path("lightning_logs").exists()


@pytest.mark.parametrize(
    "words", [["--seeds", "-1"], ["--seeds", "x"], ["--folds", "0"], ["--jobs", "0"]]
)
def test_options_out_of_range_are_refused(
    words: list[str], lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        lit_mtl("compare", *words)
    assert "usage: python -m lit_mtl compare" in capsys.readouterr().err
