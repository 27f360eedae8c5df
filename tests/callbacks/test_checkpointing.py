"""Resume is exact at every step, and nothing that happens to a run loses what was saved.

The numbers F1 to F20 are those of the project's fault suite. Processes and signals are real.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from lit_mtl.callbacks.checkpointing import Checkpointing
from lit_mtl.checkpoints import manifest_of, newest_valid, verify
from lit_mtl.errors import ConfigError
from tests.conftest import EXAMPLE_FILES, ROOT
from tests.processes import ended, finished, send, start, wait_for
from tests.runs import (
    TRACE,
    differing,
    fault,
    last_state,
    newest_run,
    run_folder,
    scalars_of,
    trace_of,
)
from tests.test_checkpoints import DAMAGES, damage

STAGES = """freezing: {stages: [
  {name: heads, freeze: [backbone], until_step: 3},
  {name: all, until_step: 7, warmup_steps: 2, lr_scale: 0.5, loss_weights: {score: 0.0}},
  {name: top, freeze: [backbone.embeddings, 'backbone.layers[:1]'], warmup_steps: 2}]}"""

PLATEAU = """freezing: {stages: [
  {name: heads, freeze: [backbone], until_plateau: {monitor: val/selection, patience: 2}},
  {name: all, warmup_steps: 2}]}"""

CACHED = """freezing: {stages: [
  {name: lowest, freeze: [backbone.embeddings, 'backbone.layers[:1]'], until_step: 7},
  {name: all}]}"""

VARIANTS = {
    "validation": [],
    "no validation": ["--trainer.limit_val_batches=0"],
    "mid-epoch validation": ["--trainer.val_check_interval=2"],
    "validation by steps": [
        "--trainer.check_val_every_n_epoch=null",
        "--trainer.val_check_interval=3",
    ],
    "accumulation with a tail": ["--trainer.accumulate_grad_batches=2"],
    "warm-up and cosine": ["--model.schedule=cosine", "--model.warmup_fraction=0.5"],
    "two workers": ["--data.num_workers=2"],
    "limited epochs": ["--trainer.limit_train_batches=3"],
    "a budget of tokens": ["--data.batch_tokens=256", "--data.batch_size=null"],
    "double precision": ["--trainer.precision=64-true"],
    "bfloat16": ["--trainer.precision=bf16-mixed"],
    "staged freezing": ["--config=stages.yaml"],
    "a cached prefix": ["--config=cached.yaml"],
    "a plateau": ["--config=plateau.yaml", "--trainer.val_check_interval=2"],
    "a protected embedding": ["--protection.weight=1"],
    "averaged weights": ["--config=stages.yaml", "--averaging.decay=0.7"],
    "fitted layers": [
        "--head_init.method=fitted",
        "--projection_init.method=pca",
        "--model.embedding_dim=16",
    ],
    "learned loss weights": [
        "--config=stages.yaml",
        "--model.loss_balancing=uncertainty",
        "--head_init.method=fitted",
        "--protection.weight=1",
        "--averaging.decay=0.7",
    ],
}

FAST = [
    "accumulation with a tail",
    "limited epochs",
    "a budget of tokens",
    "a cached prefix",
    "learned loss weights",
]
"""Those that every change must pass: together they have most of what a state is made of."""

SHOWN = ("validation", "mid-epoch validation")
"""Those whose dashboards go on as well: the embedding is compared with what it was at the beginning."""


def work_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "stages.yaml").write_text(STAGES)
    (folder / "plateau.yaml").write_text(PLATEAU)
    (folder / "cached.yaml").write_text(CACHED)
    return folder


def run(words: Sequence[str | Path], folder: Path) -> int:
    return finished(words, folder=folder, output=folder / "output.txt")


@pytest.fixture
def fit(fit_arguments: list[str]) -> list[str]:
    """Two epochs of five steps with dropout, from the newest state if there is one."""
    return ["fit", *fit_arguments, TRACE, "--ckpt_path=auto"]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("undisturbed") / "run"


@pytest.fixture
def reference(fit: list[str], undisturbed: Path) -> Path:
    """The undisturbed run of `fit`, made once."""
    if not undisturbed.is_dir():
        assert run(fit, work_folder(undisturbed)) == 0
    return undisturbed


def assert_same_end(folder: Path, reference: Path, *, trained: bool = True) -> None:
    """Weights, optimizer, schedule, counters, stages, best score and results are equal.

    The embedding is measured in a training: not where that was stopped before its results were written.
    """
    # what was stopped before its first state is begun anew, in a folder of its own
    one, other = newest_run(folder), run_folder(reference)
    assert differing(last_state(one), last_state(other)) == []
    results = [json.loads((path / "results.json").read_text()) for path in (one, other)]
    assert results[0]["results"] == results[1]["results"]
    expected = results[1]["embedding"]
    assert results[0].get("embedding") == (expected if trained else None)
    assert not list((one / "checkpoints").glob(".partial*"))


@pytest.mark.parametrize(
    "variant",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS],
)
def test_f1_resume_is_exact_from_every_step(
    variant: str, fit_arguments: list[str], tmp_path: Path
) -> None:
    """Also F17 and law 6: the stages begin at steps 3 and 7.

    Most are without the dashboards, whose pictures take longer than the steps and change nothing.
    """
    words = [*fit_arguments, *VARIANTS[variant]]
    if variant not in SHOWN:
        words.append("--dashboards.enabled=false")
    assert_exact_from_every_step(words, tmp_path, run)


@pytest.mark.faults
def test_f1_through_the_module_in_fresh_interpreters(
    fit_arguments: list[str], tmp_path: Path
) -> None:
    """The same as a user does it: `python -m lit_mtl fit --ckpt_path` for each step."""
    assert_exact_from_every_step(
        [*fit_arguments, *VARIANTS["staged freezing"]], tmp_path, interpreted
    )


def interpreted(words: Sequence[str | Path], folder: Path) -> int:
    """Run a command in an interpreter of its own."""
    with (folder / "output.txt").open("a") as output:
        return subprocess.run(
            [sys.executable, "-m", "lit_mtl", *words],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
            stdout=output,
            stderr=output,
            check=False,
        ).returncode


def assert_exact_from_every_step(
    arguments: Sequence[str], tmp_path: Path, run: Callable[[Sequence[str | Path], Path], int]
) -> None:
    """Continue a run from each of its steps: every entry, trace and scalar is that of the whole."""
    words = ["fit", *arguments, TRACE]
    whole = work_folder(tmp_path / "whole")
    assert run([*words, "--checkpoint.every_n_steps=1", "--checkpoint.keep=100"], whole) == 0
    expected, trace = last_state(run_folder(whole)), trace_of(whole)
    scalars = scalars_of(run_folder(whole))
    states = sorted(
        (run_folder(whole) / "checkpoints").glob("step_*.ckpt"),
        key=lambda path: int(path.stem[5:]),
    )
    *resumable, end = states
    steps = int(end.stem[5:])
    assert len(states) == steps >= 6
    for state in resumable:
        folder = work_folder(tmp_path / state.stem)
        assert run([*words, f"--ckpt_path={state}"], folder) == 0
        manifest = json.loads(manifest_of(state).read_text())
        done = [line["position"] for line in trace].index(manifest["position"])
        assert differing(last_state(run_folder(folder)), expected) == [], state
        assert trace_of(folder) == trace[done:], state
        for tag, points in scalars_of(run_folder(folder)).items():
            if tag.startswith("throughput/"):
                continue  # of the clock
            assert points == scalars[tag][-len(points) :], (state, tag)


def test_the_comparison_can_fail(fit: list[str], reference: Path, tmp_path: Path) -> None:
    """The negative control: a run with another seed is told from this one."""
    folder = work_folder(tmp_path / "other")
    assert run([*fit, "--seed_everything=1"], folder) == 0
    different = differing(last_state(run_folder(folder)), last_state(run_folder(reference)))
    for part in ("/state_dict/", "/optimizer_states/", "settings/seed_everything"):
        assert any(part in key for key in different)
    assert trace_of(folder) != trace_of(reference)


def test_f2_killed_twice_and_started_again_by_the_same_command(
    fit: list[str], reference: Path, tmp_path: Path
) -> None:
    folder = work_folder(tmp_path / "run")
    words = [*fit, "--checkpoint.every_n_steps=2"]
    words += fault(what="SIGKILL", step=4, marker="first")
    words += fault(what="SIGKILL", step=9, marker="second")
    assert [run(words, folder) for _ in range(3)] == [137, 137, 0]
    assert differing(settled(folder), settled(reference)) == []
    trace = {tuple(line["position"]): line for line in trace_of(folder)}
    assert list(trace.values()) == trace_of(reference)
    for epoch in (0, 1):
        rows = [row for key, line in trace.items() if key[0] == epoch for row in line["rows"]]
        assert len(rows) == len(set(rows))


def settled(folder: Path) -> dict[str, object]:
    return last_state(run_folder(folder))


@pytest.mark.parametrize("place", ["half_written", "no_manifest"])
def test_f3_killed_while_writing_a_checkpoint(
    place: str, fit: list[str], reference: Path, tmp_path: Path
) -> None:
    folder = work_folder(tmp_path / "run")
    words = [*fit, "--checkpoint.every_n_steps=2", *fault(what="SIGKILL", place=place, step=9)]
    assert run(words, folder) == 137
    checkpoints = run_folder(folder) / "checkpoints"
    assert newest_valid(checkpoints)[0] == checkpoints / "step_7.ckpt"
    assert bool(list(checkpoints.glob(".partial*"))) == (place == "half_written")
    assert run(words, folder) == 0
    assert_same_end(folder, reference)


@pytest.mark.parametrize(
    ("place", "saved"),
    [
        ("setup", None),
        ("sanity", None),
        ("step", "step_6.ckpt"),
        ("validation", "step_5.ckpt"),
        ("last_batch", "step_5.ckpt"),  # of the first epoch; its validation still runs
        ("test", "step_10.ckpt"),
    ],
)
def test_f4_sigterm_ends_with_143_and_nothing_is_lost(
    place: str, saved: str | None, fit: list[str], reference: Path, tmp_path: Path
) -> None:
    folder = work_folder(tmp_path / "run")
    step = 6 if place == "step" else 0
    words = [*fit, *fault(what="SIGTERM", place=place, step=step)]
    code = run(words, folder)
    assert code == 143, (folder / "output.txt").read_text()
    assert time.time() - (folder / "fault_done").stat().st_mtime < 30
    output = (folder / "output.txt").read_text()
    assert "lit_mtl fit: stopped by SIGTERM" in output
    assert "Traceback" not in output
    found = newest_valid(run_folder(folder) / "checkpoints")[0]
    assert (found and found.name) == saved
    assert run(words, folder) == 0
    assert_same_end(folder, reference, trained=place != "test")


def test_f5_one_interrupt_saves_and_a_second_leaves_at_once(
    fit: list[str], reference: Path, tmp_path: Path
) -> None:
    for times, saved in ((1, "step_6.ckpt"), (2, "step_5.ckpt")):
        folder = work_folder(tmp_path / f"run_{times}")
        words = [*fit, *fault(what="SIGINT", step=6, times=times)]
        assert run(words, folder) == 130
        found = newest_valid(run_folder(folder) / "checkpoints")[0]
        assert found is not None
        assert found.name == saved
        assert run(words, folder) == 0
        assert_same_end(folder, reference)


@pytest.mark.parametrize(("what", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_to_the_whole_group_ends_as_one_to_the_process_alone(
    what: str, code: int, fit: list[str], reference: Path, tmp_path: Path
) -> None:
    """Terminals and schedulers send it to the workers as well, whose batches the step waits for."""
    folder = work_folder(tmp_path / "run")
    words = [*fit, "--data.num_workers=2", *fault(what=what, step=6, group="true")]
    assert run(words, folder) == code, (folder / "output.txt").read_text()
    output = (folder / "output.txt").read_text()
    assert f"stopped by {what}. Saved" in output
    assert "Traceback" not in output
    found = newest_valid(run_folder(folder) / "checkpoints")[0]
    assert found is not None
    assert found.name == "step_6.ckpt"
    assert run(words, folder) == 0
    assert_same_end(folder, reference)


def test_what_fails_because_of_a_signal_ends_with_its_code(
    fit: list[str], reference: Path, tmp_path: Path
) -> None:
    """A cgroup's SIGTERM reaches the workers too: the batch that is waited for never comes."""
    folder = work_folder(tmp_path / "run")
    words = [*fit, "--data.num_workers=1", "--trainer.callbacks+=tests.faults.StoppedWorker"]
    assert run(words, folder) == 143, (folder / "output.txt").read_text()
    output = (folder / "output.txt").read_text()
    assert "stopped by SIGTERM. Not saved at this step (" in output
    assert "Traceback" not in output
    assert run([*fit, "--data.num_workers=1"], folder) == 0
    assert_same_end(folder, reference)


def test_f7_a_failed_write_ends_with_74_and_the_last_state_is_good(
    fit: list[str], reference: Path, tmp_path: Path
) -> None:
    folder = work_folder(tmp_path / "run")
    words = [*fit, "--checkpoint.every_n_steps=2", *fault(what="file_limit", step=6)]
    assert run(words, folder) == 74
    message = (folder / "output.txt").read_text().strip().splitlines()[-1]
    assert "step_7.ckpt: could not be written (File too large)" in message
    assert_all_whole(run_folder(folder) / "checkpoints", newest="step_5.ckpt")
    assert run(words, folder) == 0
    assert_same_end(folder, reference)


def assert_all_whole(checkpoints: Path, *, newest: str) -> None:
    """Nothing stands under a final name that could not be loaded."""
    found, complaints = newest_valid(checkpoints)
    assert found is not None
    assert (found.name, complaints) == (newest, [])
    for path in checkpoints.glob("*.ckpt"):
        assert verify(path) is not None
    assert not list(checkpoints.glob(".partial*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("no right to mount a file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_f7_a_full_disk(fit: list[str], reference: Path, small_disk: Path, tmp_path: Path) -> None:
    folder = work_folder(tmp_path / "run")
    words = [*fit, f"--checkpoint.dirpath={small_disk / 'kept'}", "--checkpoint.keep=9"]
    words += ["--checkpoint.every_n_steps=1", f"--trainer.logger.init_args.save_dir={small_disk}"]
    assert run(words, folder) == 74
    message = (folder / "output.txt").read_text().strip().splitlines()[-1]
    assert "could not be written (No space left on device)" in message
    newest = max(int(path.stem[5:]) for path in small_disk.glob("kept/step_*.ckpt"))
    assert_all_whole(small_disk / "kept", newest=f"step_{newest}.ckpt")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert run(words, folder) == 74
    assert "Read-only file system" in (folder / "output.txt").read_text()
    subprocess.run(["mount", "-o", "remount,rw,size=20m", str(small_disk)], check=True)
    assert run(words, folder) == 0
    end, expected = (
        torch.load(path / "last.ckpt", weights_only=True)["state_dict"]
        for path in (small_disk / "kept", run_folder(reference) / "checkpoints")
    )
    assert differing(end, expected) == []


@pytest.mark.slow
def test_f7_a_full_temporary_folder_does_not_matter(
    fit: list[str], small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = work_folder(tmp_path / "run")
    with (small_disk / "filler").open("wb") as file, suppress(OSError):
        file.write(bytes(3_000_000))
    monkeypatch.setenv("TMPDIR", str(small_disk))
    assert interpreted(fit[:-1], folder) == 0, (folder / "output.txt").read_text()


@pytest.mark.parametrize("how", DAMAGES)
def test_f8_a_damaged_state_is_named_and_passed_over(
    how: str, fit: list[str], reference: Path, tmp_path: Path
) -> None:
    folder = work_folder(tmp_path / "run")
    words = [*fit, *fault(what="SIGTERM", step=7)]
    assert run(words, folder) == 143
    newest = run_folder(folder) / "checkpoints" / "step_7.ckpt"
    damage(newest, how)
    assert run([*fit, f"--ckpt_path={newest}"], folder) == 74
    line = (folder / "output.txt").read_text().strip().splitlines()[-1]
    assert line.startswith(f"lit_mtl fit: {newest}: damaged")
    assert run(fit, folder) == 0
    assert "step_7.ckpt: damaged" in (folder / "output.txt").read_text()
    assert_same_end(folder, reference)


def test_f8_where_all_states_are_damaged_nothing_begins_anew(
    fit: list[str], tmp_path: Path
) -> None:
    folder = work_folder(tmp_path / "run")
    assert run([*fit, *fault(what="SIGTERM", step=7)], folder) == 143
    for path in (run_folder(folder) / "checkpoints").glob("step_*.ckpt"):
        damage(path, "flip")
    assert run(fit, folder) == 74
    last = (folder / "output.txt").read_text().strip().splitlines()[-1]
    assert "step_7.ckpt" in last
    assert "step_5.ckpt" in last


def hashes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_f18_two_runs_cannot_write_one_folder(fit: list[str], tmp_path: Path) -> None:
    folder = work_folder(tmp_path / "run")
    named = [*fit[:-1], "--trainer.logger.init_args.version=mine"]
    words = [*named, *fault(what="SIGSTOP", step=6)]
    holder = start(words, folder=folder, output=folder / "first.txt")
    run_of = folder / "lightning_logs" / "runs" / "mine"
    wait_for(folder / "fault_done")
    before = hashes(run_of / "checkpoints")
    assert run(named, folder) == 2
    assert (
        f"another run (process {holder.pid}) is writing here" in (folder / "output.txt").read_text()
    )
    assert hashes(run_of / "checkpoints") == before
    send(holder, signal.SIGCONT)
    assert ended(holder) == 0


def test_f18_a_named_folder_is_continued_and_never_is_refused_there(
    fit: list[str], reference: Path, tmp_path: Path
) -> None:
    folder = work_folder(tmp_path / "run")
    named = [*fit[:-1], "--trainer.logger.init_args.version=version_0"]
    assert run([*named, *fault(what="SIGTERM", step=6)], folder) == 143
    config = (run_folder(folder) / "config.yaml").read_bytes()
    before = hashes(run_folder(folder) / "checkpoints")
    assert run([*named, "--ckpt_path=never"], folder) == 2
    assert hashes(run_folder(folder) / "checkpoints") == before
    assert run(named, folder) == 0
    assert (run_folder(folder) / "config.yaml").read_bytes() == config
    assert_same_end(folder, reference)


def test_f19_measuring_and_predicting_leave_the_checkpoints_alone(
    fit_arguments: list[str], fit: list[str], tmp_path: Path
) -> None:
    folder = work_folder(tmp_path / "run")
    crash = ["--checkpoint.every_n_steps=2", *fault(what="SIGKILL", place="half_written", step=7)]
    assert run([*fit, *crash], folder) == 137
    checkpoints = run_folder(folder) / "checkpoints"
    before = hashes(checkpoints)
    assert any(name.startswith(".partial") for name in before)
    data = [word for word in fit_arguments if word.startswith("--data")]
    for name in ("best.ckpt", "last.ckpt"):
        path = [f"--ckpt_path={checkpoints / name}", "--trainer.enable_progress_bar=false"]
        assert run(["validate", *data, *path], folder) == 0
        assert run(["test", *data, *path], folder) == 0
        words = [path[0], f"--output={name}.jsonl", f"--input={EXAMPLE_FILES / 'positive.txt'}"]
        assert run(["predict", *words], folder) == 0
        assert run(["embed", path[0], "A sentence."], folder) == 0
    assert hashes(checkpoints) == before


def test_a_finished_run_is_measured_again_and_not_trained(
    fit: list[str], reference: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(reference, tmp_path / "run", symlinks=True)
    steps = len(trace_of(folder))
    before = hashes(run_folder(folder) / "checkpoints")
    assert run(fit, folder) == 0
    assert len(trace_of(folder)) == steps
    assert hashes(run_folder(folder) / "checkpoints") == before
    assert_same_end(folder, reference)


def test_an_early_end_stays_the_end(fit: list[str], tmp_path: Path) -> None:
    folder = work_folder(tmp_path / "run")
    stop = ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.init_args.patience=1"]
    stop += ["--trainer.callbacks.init_args.monitor=val/selection"]
    stop += ["--trainer.callbacks.init_args.min_delta=10", "--trainer.max_epochs=9"]
    assert run([*fit, *stop], folder) == 0
    steps = len(trace_of(folder))
    assert steps == 10
    assert run([*fit, *stop], folder) == 0
    assert len(trace_of(folder)) == steps
    assert "this training has ended, so nothing is trained" in (folder / "output.txt").read_text()


def test_states_are_kept_by_their_number_and_best_weights_as_long_as_they_are_named(
    fit_arguments: list[str], tmp_path: Path
) -> None:
    folder = work_folder(tmp_path / "run")
    words = ["fit", *fit_arguments, "--checkpoint.every_n_steps=1", "--checkpoint.keep=3"]
    assert run([*words, "--trainer.val_check_interval=1"], folder) == 0
    checkpoints = run_folder(folder) / "checkpoints"
    assert {path.name for path in checkpoints.glob("step_*.ckpt")} == {
        "step_8.ckpt",
        "step_9.ckpt",
        "step_10.ckpt",
    }
    named = {json.loads(path.read_text())["best"] for path in checkpoints.glob("step_*.json")}
    assert {path.name for path in checkpoints.glob("best_*.ckpt")} == named
    for path in checkpoints.glob("*.ckpt"):
        assert verify(path) is not None
    for path in checkpoints.glob("step_*.json"):
        manifest = json.loads(path.read_text())
        state = torch.load(path.with_suffix(".ckpt"), weights_only=True)
        assert manifest["step"] == state["global_step"] == int(path.stem[5:])
        assert manifest["data"] == state["SentimentDataModule"]["fingerprint"]
        assert (manifest["schema"], len(manifest["sha256"])) == (1, 64)
    scores = [value for _, value in scalars_of(run_folder(folder))["val/selection"]]
    best = json.loads(manifest_of((checkpoints / "best.ckpt").resolve()).read_text())
    assert best["val/selection"] == pytest.approx(max(scores))
    assert best["step"] == 1 + scores.index(max(scores))


def test_each_kept_state_keeps_the_best_weights_that_it_names(
    fit_arguments: list[str], tmp_path: Path
) -> None:
    """The number of the stage is a metric that is known to rise at the last two steps."""
    folder = work_folder(tmp_path / "run")
    stages = "[{name: a, until_step: 8}, {name: b, until_step: 9}, {name: c}]"
    words = ["fit", *fit_arguments, f"--freezing.stages={stages}", "--trainer.val_check_interval=1"]
    words += ["--checkpoint.monitor=stage/index", "--checkpoint.every_n_steps=1"]
    assert run([*words, "--checkpoint.keep=3"], folder) == 0
    checkpoints = run_folder(folder) / "checkpoints"
    named = {
        path.stem: json.loads(path.read_text())["best"] for path in checkpoints.glob("step_*.json")
    }
    assert named == {"step_8": "best_1.ckpt", "step_9": "best_9.ckpt", "step_10": "best_10.ckpt"}
    assert {path.name for path in checkpoints.glob("best_*.ckpt")} == set(named.values())


def test_minutes_make_checkpoints_as_well(fit_arguments: list[str], tmp_path: Path) -> None:
    folder = work_folder(tmp_path / "run")
    words = ["fit", *fit_arguments, "--checkpoint.every_n_minutes=1e-9", "--checkpoint.keep=99"]
    assert run(words, folder) == 0
    assert len(list((run_folder(folder) / "checkpoints").glob("step_*.ckpt"))) == 10


@pytest.mark.parametrize("name", ["every_n_steps", "every_n_minutes", "keep"])
def test_an_interval_that_is_none_is_refused(name: str) -> None:
    options: dict[str, Any] = {name: 0}
    with pytest.raises(ConfigError, match=f"`{name}` to be positive"):
        Checkpointing(**options)


def test_a_metric_that_is_not_there_is_named_with_those_that_are(
    fit_arguments: list[str], tmp_path: Path
) -> None:
    folder = work_folder(tmp_path / "run")
    assert run(["fit", *fit_arguments, "--checkpoint.monitor=val/nothing"], folder) == 2
    output = (folder / "output.txt").read_text()
    assert "val/nothing" in output
    assert "val/selection" in output


def test_f22_the_losses_of_the_first_twenty_steps_are_those_on_record(
    fit_arguments: list[str], tmp_path: Path
) -> None:
    """A change of the rows' order, of the random numbers or of the arithmetic shows here.

    Equal to five digits: other processors add in another order.
    """
    folder = work_folder(tmp_path / "run")
    assert run(["fit", *fit_arguments, "--trainer.max_epochs=4"], folder) == 0
    found = [value for _, value in scalars_of(run_folder(folder))["train/loss"]]
    record = ROOT / "tests" / "callbacks" / "golden_losses.json"
    if os.environ.get("RECORD_GOLDEN_LOSSES"):
        record.write_text(json.dumps([round(value, 6) for value in found]) + "\n")
    assert len(found) == 20
    assert found == pytest.approx(json.loads(record.read_text()), rel=1e-5)
