"""F6, F10, F12 and F16: two real processes that are signalled, killed and poisoned."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from lit_mtl.checkpoints import newest_valid
from tests.conftest import ROOT
from tests.runs import TRACE, differing, fault, last_state, newest_run, run_folder, trace_of

TWO = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=4"]

STAGES = """freezing: {stages: [
  {name: heads, freeze: [backbone], until_step: 2},
  {name: all, until_step: 7, warmup_steps: 2},
  {name: top, freeze: [backbone.embeddings, 'backbone.layers[:1]']}]}"""

LIMIT = 300
"""Seconds after which two processes count as hanging; on a busy machine they start in a minute."""


def run(words: Sequence[str], folder: Path) -> int:
    """Run a command whose processes all have to end; what a shell would show of the first one."""
    folder.mkdir(exist_ok=True)
    (folder / "stages.yaml").write_text(STAGES)
    with (folder / "output.txt").open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "lit_mtl", *words],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
                "OMP_NUM_THREADS": "1",
            },
            stdout=output,
            stderr=output,
        )
        try:
            code = process.wait(LIMIT)
            _wait_until_alone(folder)
        finally:
            for other in _processes_in(folder):
                os.kill(other, 9)
    return code if code >= 0 else 128 - code


def _processes_in(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if (entry / "cwd").readlink() == folder:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def _wait_until_alone(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while others := _processes_in(folder):
        assert time.monotonic() < deadline, f"left behind: {others}"
        time.sleep(0.1)


@pytest.fixture
def fit(fit_arguments: list[str]) -> list[str]:
    words = ["fit", *fit_arguments, *TWO, TRACE, "--config=stages.yaml", "--ckpt_path=auto"]
    return [*words, "--checkpoint.every_n_steps=2"]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("undisturbed_ddp") / "run"


@pytest.fixture
def reference(fit: list[str], undisturbed: Path) -> Path:
    """The undisturbed run of `fit`, made once."""
    if not undisturbed.is_dir():
        assert run(fit, undisturbed) == 0, (undisturbed / "output.txt").read_text()
    return undisturbed


def assert_same_end(folder: Path, reference: Path) -> None:
    assert differing(last_state(newest_run(folder)), last_state(run_folder(reference))) == []
    for rank in (0, 1):
        trace = {tuple(line["position"]): line for line in trace_of(folder, rank)}
        assert list(trace.values()) == trace_of(reference, rank)


@pytest.mark.slow
def test_f6_sigterm_to_one_process_alone_saves_and_ends_both(
    fit: list[str], reference: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    words = [*fit, *fault(what="SIGTERM", step=5, rank=1)]
    assert run(words, folder) == 143, (folder / "output.txt").read_text()
    output = (folder / "output.txt").read_text()
    assert output.count("stopped by SIGTERM. Saved") == 1
    assert "Traceback" not in output
    newest, complaints = newest_valid(run_folder(folder) / "checkpoints")
    assert newest is not None
    assert (newest.name, complaints) == ("step_5.ckpt", [])
    assert run(words, folder) == 0
    assert_same_end(folder, reference)


@pytest.mark.slow
def test_f10_f11_another_number_of_processes_is_refused(
    fit: list[str], reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*fit, "--trainer.devices=1", "--trainer.strategy=auto"], reference) == 2
    message = (reference / "output.txt").read_text().strip().splitlines()[-1]
    assert "number of processes: 2 there, 1 here" in message


CASES = [
    (["SIGTERM"], [0], 143),
    (["SIGTERM"], [1], 143),
    (["SIGTERM", "SIGTERM"], [0, 1], 143),
    (["SIGINT", "SIGINT"], [0, 1], 130),
    (["SIGKILL"], [0], 137),
    (["SIGKILL"], [1], None),
]


@pytest.mark.faults
@pytest.mark.parametrize("step", [0, 3, 5, 7, 9])
@pytest.mark.parametrize(("signals", "ranks", "code"), CASES)
def test_f6_two_processes_never_hang_and_resume_exactly(
    signals: list[str],
    ranks: list[int],
    code: int | None,
    step: int,
    fit: list[str],
    reference: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    words = fit
    for what, rank in zip(signals, ranks, strict=True):
        words = [*words, *fault(what=what, rank=rank, step=step, marker=f"rank_{rank}")]
    found = run(words, folder)
    assert found == code or (code is None and found != 0), (folder / "output.txt").read_text()
    assert run(words, folder) == 0, (folder / "output.txt").read_text()
    assert_same_end(folder, reference)


@pytest.mark.faults
@pytest.mark.parametrize("place", ["setup", "sanity", "validation", "test"])
@pytest.mark.parametrize("rank", [0, 1])
def test_f6_a_signal_outside_of_the_steps_ends_both_processes(
    place: str, rank: int, fit: list[str], reference: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    words = [*fit, *fault(what="SIGTERM", place=place, rank=rank)]
    assert run(words, folder) == 143, (folder / "output.txt").read_text()
    assert (folder / "output.txt").read_text().count("lit_mtl fit: stopped by SIGTERM") == 1
    assert run(words, folder) == 0, (folder / "output.txt").read_text()
    assert_same_end(folder, reference)


@pytest.mark.faults
def test_f5_two_interrupts_to_two_processes_leave_at_once(
    fit: list[str], reference: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    words = fit
    for rank in (0, 1):
        words = [
            *words,
            *fault(what="SIGINT", rank=rank, step=5, marker=f"rank_{rank}", times=2),
        ]
    assert run(words, folder) == 130, (folder / "output.txt").read_text()
    newest, _ = newest_valid(run_folder(folder) / "checkpoints")
    assert newest is not None
    assert newest.name == "step_4.ckpt"
    assert run(words, folder) == 0, (folder / "output.txt").read_text()
    assert_same_end(folder, reference)


PLATEAU = """freezing: {stages: [
  {name: heads, freeze: [backbone], until_plateau: {monitor: train/loss, mode: min}},
  {name: all, until_plateau: {monitor: train/loss, mode: min}},
  {name: top, freeze: [backbone.embeddings]}]}"""


@pytest.mark.faults
def test_processes_decide_alike_on_a_metric_of_which_each_has_its_own(
    fit: list[str], tmp_path: Path
) -> None:
    """`train/loss` is not averaged: a plateau and the best weights would be seen by one of them."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "plateau.yaml").write_text(PLATEAU)
    words = [word for word in fit if word != "--config=stages.yaml"]
    words += ["--config=plateau.yaml", "--trainer.val_check_interval=1"]
    words += ["--checkpoint.monitor=train/loss", "--checkpoint.mode=min"]
    assert run(words, folder) == 0, (folder / "output.txt").read_text()
    frozen = [[line["frozen"] for line in trace_of(folder, rank)] for rank in (0, 1)]
    assert frozen[0] == frozen[1]
    assert len({len(names) for names in frozen[0]}) > 1, "no stage has ended"


@pytest.mark.faults
@pytest.mark.parametrize("rank", [0, 1])
def test_f12_what_is_not_a_number_on_one_process_stops_both(
    rank: int, fit: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert run([*fit, *fault(what="nan_weight", step=5, rank=rank)], folder) == 70
    assert "model.lr" in (folder / "output.txt").read_text()
    newest, complaints = newest_valid(run_folder(folder) / "checkpoints")
    assert newest is not None
    assert (newest.name, complaints) == ("step_5.ckpt", [])


@pytest.mark.faults
def test_f16_ranks_are_equal_at_every_epochs_end_across_thaws_and_resume(
    fit: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    kept = ["--trainer.callbacks+=tests.rank_weights.RankSums"]
    words = [*fit, *kept, *fault(what="SIGTERM", step=6, rank=0)]
    assert run(words, folder) == 143
    assert run(words, folder) == 0
    sums = [json.loads(line) for line in (folder / "sums.jsonl").read_text().splitlines()]
    by_epoch: dict[int, set[str]] = {}
    for line in sums:
        by_epoch.setdefault(line["epoch"], set()).add(line["sum"])
        assert line["rank"] in (0, 1)
    assert {epoch: len(found) for epoch, found in by_epoch.items()} == {0: 1, 1: 1}
    assert len(sums) == 4
