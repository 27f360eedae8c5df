import copy
import itertools
import json
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lit_mtl.callbacks.kept_rows import ROWS_FILE
from lit_mtl.commands.compare_runs import (
    Run,
    Settings,
    alone,
    finish_all,
    frozen,
    of_task,
    planned,
    time_left,
)
from lit_mtl.commands.results import RESULTS_FILE
from lit_mtl.commands.train import configured
from lit_mtl.errors import LitMTLError
from lit_mtl.files import locked
from lit_mtl.paired import HeldOutRows, save_rows
from lit_mtl.tasks import Classification
from tests.conftest import example_data

TASKS = ("sentiment", "score")
LABEL = Classification(labels=("a", "b"))


@pytest.fixture
def settings(fit_arguments: list[str]) -> Settings:
    """The whole config of the tests' small run."""
    cli = configured("groups", fit_arguments)
    found: Settings = yaml.safe_load(cli.parser.dump(cli.config, skip_unset=False))
    return found


def plan(settings: Settings, **changes: Any) -> list[Run]:
    options: dict[str, Any] = {"seeds": [0, 1], "folds": 1, "data": "sum", "feeds": []}
    return planned(settings, tasks=TASKS, output=Path("out"), **options | changes)


def test_each_seed_has_every_variant_before_the_next_one_begins(settings: Settings) -> None:
    kinds = ["together", "frozen", "alone, sentiment", "alone, score"]
    runs = plan(settings)
    assert [run.kind for run in runs] == kinds * 2
    assert [run.settings["seed_everything"] for run in runs] == [0] * 4 + [1] * 4
    assert [list(run.settings["tasks"]) for run in runs[:4]] == [
        list(TASKS),
        list(TASKS),
        ["sentiment"],
        ["score"],
    ]
    assert len({run.folder for run in runs}) == len(runs)


def test_no_run_measures_what_is_not_compared(settings: Settings) -> None:
    settings["pairs"]["path"] = "pairs.tsv"
    for run in plan(settings):
        assert run.settings["pairs"]["path"] is None
        assert not run.settings["dashboards"]["enabled"]


def test_a_run_is_found_again_by_what_it_is_made_of(settings: Settings) -> None:
    folders = [run.folder for run in plan(settings)]
    assert [run.folder for run in plan(copy.deepcopy(settings))] == folders
    changed = copy.deepcopy(settings)
    changed["model"]["lr"] = 0.5
    other_task = copy.deepcopy(settings)
    other_task["tasks"]["score"]["init_args"]["low"] = -5.0
    assert not {run.folder for run in plan(changed)} & set(folders)
    assert not {run.folder for run in plan(settings, data="other")} & set(folders)
    # what another task is made of does not concern a task alone
    same = {run.folder for run in plan(other_task)} & set(folders)
    assert {folder.name[: len("alone-sentiment")] for folder in same} == {"alone-sentiment"}


def test_folds_hold_each_sentence_out_once(settings: Settings, tiny_bert: Path) -> None:
    runs = [run for run in plan(settings, seeds=[0], folds=3) if run.kind == "together"]
    parts = []
    for run in runs:
        own = {key: run.settings["data"][key] for key in ("folds", "fold", "val_fraction")}
        data = example_data(tiny_bert, **own)
        data.prepare_data()
        data.setup("fit")
        assert data.corpus is not None
        parts.append({split: set(rows["text"]) for split, rows in data.corpus.splits.items()})
    for one, other in itertools.combinations(parts, 2):
        assert not one["test"] & other["test"]
    everything = set.union(*parts[0].values())
    assert set.union(*(part["test"] for part in parts)) == everything
    assert len(parts) == 3


def test_one_task_alone_has_nothing_of_the_others(settings: Settings) -> None:
    source = {"path": "x.tsv", "tasks": None}
    settings["data"]["sources"] = {
        "both": source | {"tasks": {"score": "s", "sentiment": "l"}},
        "labels": source | {"tasks": {"sentiment": "l"}},
        "found": dict(source),
    }
    settings["freezing"]["stages"] = [
        {
            "freeze": ["heads.score", "projection"],
            "loss_weights": {"score": 0.0, "sentiment": 2.0},
            "until_plateau": None,
        }
    ]
    settings["checkpoint"] |= {"monitor": "val/score/rmse", "mode": "min"}

    class Served:
        def __init__(self, source: str, *tasks: str) -> None:
            self.source, self.columns = source, dict.fromkeys(tasks, "column")

    feeds: Any = [Served("both", "score", "sentiment"), Served("labels", "sentiment")]
    feeds.append(Served("found", "score"))
    before = copy.deepcopy(settings)
    sentiment, score = (alone(settings, task, feeds) for task in TASKS)
    assert settings == before, "it is a copy"
    assert list(sentiment["tasks"]) == ["sentiment"]
    assert sentiment["data"]["sources"] == {
        "both": source | {"tasks": {"sentiment": "l"}},
        "labels": source | {"tasks": {"sentiment": "l"}},
    }
    assert list(score["data"]["sources"]) == ["both", "found"]
    assert sentiment["freezing"]["stages"] == [
        {"freeze": ["projection"], "loss_weights": {"sentiment": 2.0}, "until_plateau": None}
    ]
    assert score["freezing"]["stages"][0]["freeze"] == ["heads.score", "projection"]
    own = [
        {name: found["checkpoint"][name] for name in ("monitor", "mode")}
        for found in (sentiment, score)
    ]
    assert own == [
        {"monitor": "val/selection", "mode": "max"},
        {"monitor": "val/score/rmse", "mode": "min"},
    ]


def test_frozen_rests_the_whole_backbone_and_nothing_else(settings: Settings) -> None:
    settings["freezing"]["stages"] = [{"name": "x", "freeze": ["heads"]}]
    settings["protection"]["weight"] = 1.0
    found = frozen(settings)
    assert found["freezing"] == {"stages": [{"name": "frozen", "freeze": ["backbone"]}]}
    assert found["prefix_cache"]["keep"]
    assert found["protection"]["weight"] == 0.0
    assert found["model"] == settings["model"]


def run_in(folder: Path, kind: str, **settings: Any) -> Run:
    return Run(variant=kind, tasks=("sentiment",), seed=0, fold=0, settings=settings, folder=folder)


def finish(run: Run, seconds: float) -> None:
    """Leave what a run leaves."""
    rows = HeldOutRows(
        task=LABEL, keys=["a"], output=torch.zeros(1, 2), target=torch.tensor([run.seed])
    )
    save_rows(run.folder / ROWS_FILE, dict.fromkeys(run.tasks, rows))
    (run.folder / RESULTS_FILE).write_text(json.dumps({"training_seconds": seconds}))


def test_the_time_left_is_that_of_runs_of_the_same_kind(tmp_path: Path) -> None:
    runs = [run_in(tmp_path / f"{n}", "frozen" if n % 2 else "together") for n in range(6)]
    assert time_left(runs) is None
    finish(runs[0], 100.0)
    assert time_left(runs) == 500.0
    finish(runs[1], 10.0)
    assert time_left(runs) == 220.0


def test_the_time_left_counts_what_a_process_takes_beside_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also over several processes, where a run goes on after a stop."""
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nsleep 0.5\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))
    run, other = (run_in(tmp_path / name, "together") for name in ("run", "other"))
    for _ in range(2):
        with pytest.raises(LitMTLError, match="failed"):
            run.finish(threading.Event())
    finish(run, 0.25)
    assert run.seconds == 0.25
    left = time_left([run, other])
    assert left is not None
    assert 1.0 <= left < 60


def test_rows_are_sorted_by_variant_fold_and_seed(settings: Settings, tmp_path: Path) -> None:
    runs = plan(settings, folds=2, seeds=[0, 1])
    runs = [
        Run(**{**vars(run), "folder": tmp_path / str(number)}) for number, run in enumerate(runs)
    ]
    for run in runs:
        finish(run, 1.0)
    found = of_task(runs, "score")
    assert list(found) == ["together", "alone", "frozen"]
    for folds in found.values():
        assert [[int(rows.target) for rows in fold] for fold in folds] == [[0, 1], [0, 1]]


def test_a_run_that_still_goes_on_elsewhere_is_waited_for(tmp_path: Path) -> None:
    """As after `compare` alone was killed: what the other process finishes is not trained again."""
    run = run_in(tmp_path / "run", "together")
    with locked(run.folder / "checkpoints"):
        waiting = threading.Thread(target=run.finish, args=[threading.Event()])
        waiting.start()
        waiting.join(1.5)
        assert waiting.is_alive()
        finish(run, 1.0)
    waiting.join(10)
    assert not waiting.is_alive()
    assert not (run.folder / "log.txt").exists()
    assert not (run.folder / "checkpoints").exists(), "weights are not kept"


def test_a_run_that_fails_names_its_log_and_says_why(tmp_path: Path, tiny_bert: Path) -> None:
    model, data = {"backbone": str(tiny_bert)}, {"path": str(tmp_path / "nowhere")}
    run = run_in(tmp_path / "run", "together", model=model, data=data)
    with pytest.raises(LitMTLError, match=r"run failed \(exit code 66\)") as failed:
        run.finish(threading.Event())
    assert str(tmp_path / "run" / "log.txt") in str(failed.value)
    assert "nowhere" in str(failed.value)


def test_so_many_train_at_a_time(tmp_path: Path) -> None:
    runs = [run_in(tmp_path / str(number), "together") for number in range(3)]
    begun: list[Run] = []
    with ExitStack() as held:
        for run in runs:
            held.enter_context(locked(run.folder / "checkpoints"))
        waiting = threading.Thread(
            target=lambda: finish_all(runs, jobs=2, begun=begun.append), daemon=True
        )
        waiting.start()
        waiting.join(1.5)
        assert begun == runs[:2]
        for run in runs:
            finish(run, 1.0)
    waiting.join(10)
    assert not waiting.is_alive()
    assert begun == runs


def test_where_one_fails_the_others_are_ended_and_no_more_begin(
    tmp_path: Path, tiny_bert: Path
) -> None:
    model, data = {"backbone": str(tiny_bert)}, {"path": str(tmp_path / "nowhere")}
    held = run_in(tmp_path / "held", "together")
    failing = run_in(tmp_path / "failing", "together", model=model, data=data)
    begun: list[Run] = []
    with (
        locked(held.folder / "checkpoints"),
        pytest.raises(LitMTLError, match=r"failing failed \(exit code 66\)"),
    ):
        finish_all([held, failing, held], jobs=2, begun=begun.append)
    assert begun == [held, failing]


@pytest.mark.parametrize(("jobs", "said"), [(1, ""), (2, "3"), (7, "1")])
def test_those_that_train_at_a_time_share_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, said: str
) -> None:
    """With all of them for each, they wait for one another most of the time."""
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\necho "threads: $OMP_NUM_THREADS."\nexit 1\n')
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    with pytest.raises(LitMTLError, match=rf"threads: {said}\."):
        finish_all([run_in(tmp_path / "run", "together")], jobs=jobs, begun=lambda _: None)


def test_alone_no_stage_waits_for_another_task_or_lets_nothing_learn(settings: Settings) -> None:
    settings["freezing"]["stages"] = [
        {
            "freeze": [],
            "loss_weights": {"score": 0.0},
            "until_plateau": {"monitor": "val/sentiment/accuracy", "mode": "max", "patience": 2},
        },
        {"freeze": [], "loss_weights": {}, "until_plateau": None},
    ]
    served: Any = [type("Served", (), {"source": "own", "columns": dict.fromkeys(TASKS, "x")})()]
    first, last = alone(settings, "score", served)["freezing"]["stages"]
    assert first["loss_weights"] == {}
    assert first["until_plateau"] == {"monitor": "val/selection", "mode": "max", "patience": 2}
    assert last["until_plateau"] is None
    kept, _ = alone(settings, "sentiment", served)["freezing"]["stages"]
    assert kept["until_plateau"]["monitor"] == "val/sentiment/accuracy"


def test_alone_no_callback_watches_another_task(settings: Settings) -> None:
    def stops(monitor: str) -> Settings:
        return {"class_path": "EarlyStopping", "init_args": {"monitor": monitor, "mode": "min"}}

    monitors = ["val/sentiment/loss", "train/sentiment/loss", "val/score/loss", "train/loss"]
    settings["trainer"]["callbacks"] = [*map(stops, monitors), {"class_path": "RichProgressBar"}]
    served: Any = [type("Served", (), {"source": "own", "columns": dict.fromkeys(TASKS, "x")})()]
    *found, other = alone(settings, "score", served)["trainer"]["callbacks"]
    expected = [("val/selection", "max")] * 2 + [("val/score/loss", "min"), ("train/loss", "min")]
    assert [tuple(callback["init_args"].values()) for callback in found] == expected
    assert other == {"class_path": "RichProgressBar"}
