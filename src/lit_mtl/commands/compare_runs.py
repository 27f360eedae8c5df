"""The runs of `compare`: which there are, what each trains, and where its result is found again."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import torch
import yaml

from lit_mtl import __version__
from lit_mtl.callbacks.kept_rows import ROWS_FILE, KeptRows
from lit_mtl.commands.results import RESULTS_FILE
from lit_mtl.data.sources import Feed
from lit_mtl.errors import ConfigError, LitMTLError
from lit_mtl.files import locked, write_atomically
from lit_mtl.module import SELECTION_KEY
from lit_mtl.paired import HeldOutRows, load_rows
from lit_mtl.signals import FIRST_PROCESS

TOGETHER, ALONE, FROZEN = "together", "alone", "frozen"

Settings = dict[str, Any]
"""A whole config of `fit`, in plain values."""

_WALL_FILE = "wall_seconds.txt"

_LOG_LINES = 8

_POLL = 0.05
"""Seconds between two looks at a run's process."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training.

    Args:
        variant: `together`, `alone` or `frozen`.
        tasks: what it trains.
        seed: its seed.
        fold: its fold, from 0.
        settings: its config.
        folder: where it lies. Its name ends with a sum over settings and data.
    """

    variant: str
    tasks: tuple[str, ...]
    seed: int
    fold: int
    settings: Settings
    folder: Path

    @property
    def kind(self) -> str:
        """What runs of other seeds and folds share: the variant, and its task where it has one."""
        return f"{self.variant}, {self.tasks[0]}" if self.variant == ALONE else self.variant

    @property
    def is_finished(self) -> bool:
        """Whether it has been measured to the end."""
        return all((self.folder / name).is_file() for name in (ROWS_FILE, RESULTS_FILE))

    @property
    def seconds(self) -> float:
        """How long it trained."""
        results = json.loads((self.folder / RESULTS_FILE).read_text(encoding="utf-8"))
        return float(results["training_seconds"])

    @property
    def wall_seconds(self) -> float:
        """How long its processes took, start and measuring included; at least as long as it trained.

        What is not known is that of a process that went on after its `compare` had ended.
        """
        return max(self.seconds, self._known_wall_seconds())

    def _known_wall_seconds(self) -> float:
        with suppress(OSError, ValueError):  # none, or one that is not whole
            return float((self.folder / _WALL_FILE).read_text(encoding="utf-8"))
        return 0.0

    def rows(self) -> dict[str, HeldOutRows]:
        """What it gives for the rows of its test split, by task."""
        return load_rows(self.folder / ROWS_FILE)

    def finish(self, stopping: Event, *, threads: int | None = None) -> None:
        """Train and measure it in a process of its own, or go on where one was interrupted.

        Its weights are then removed: the rows are what is compared.

        Args:
            stopping: once set, its process is ended, which first saves where it is.
            threads: of the processor that it may take. None: as many as it finds.

        Raises:
            LitMTLError: if it fails, with the end of its log.
        """
        if not self.is_finished:
            _wait_for_another(self.folder, stopping)
        if not self.is_finished and not stopping.is_set():
            self._train(stopping, threads)
        if self.is_finished:
            shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)

    def _train(self, stopping: Event, threads: int | None) -> None:
        config, log = self.folder / "settings.yaml", self.folder / "log.txt"
        write_atomically(config, _as_yaml(self.settings))
        begun, before = time.monotonic(), self._known_wall_seconds()
        try:
            code = _fit(config, log, stopping, threads)
        finally:
            wall = before + time.monotonic() - begun
            write_atomically(self.folder / _WALL_FILE, f"{wall:.3f}\n".encode())
        if stopping.is_set():
            return
        if code or not self.is_finished:
            last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
            raise LitMTLError(
                f"The run {self.folder.name} failed (exit code {code}); what is finished is kept. "
                f"The end of {log}:\n" + "\n".join(last)
            )


def planned(
    settings: Settings,
    *,
    tasks: Sequence[str],
    feeds: Sequence[Feed],
    seeds: Sequence[int],
    folds: int,
    data: str,
    output: Path,
) -> list[Run]:
    """All runs, so that each seed is complete before the next one begins.

    Args:
        settings: the config to compare by.
        tasks: the tasks to compare.
        feeds: what is read of the config's sources.
        seeds: a run each.
        folds: how many folds are the test split in turn; 1: the config's own split.
        data: sum over the data.
        output: where the runs lie.
    """
    variants = [(TOGETHER, tuple(tasks), settings), (FROZEN, tuple(tasks), frozen(settings))]
    variants += [(ALONE, (task,), alone(settings, task, feeds)) for task in tasks]
    runs = []
    for seed in seeds:
        for fold in range(folds):
            for variant, own, found in variants:
                full = _of_split(found, seed=seed, fold=fold, folds=folds)
                made_of = _as_yaml(full) + f"{data} {__version__}".encode()
                parts = [variant, *own] if variant == ALONE else [variant]
                parts += [f"seed_{seed}", *([f"fold_{fold}"] if folds > 1 else [])]
                name = re.sub(r"[^\w.-]", "_", "-".join(parts))
                folder = output / "runs" / f"{name}-{hashlib.sha256(made_of).hexdigest()[:8]}"
                full["trainer"]["logger"] = _logger(folder)
                runs.append(
                    Run(
                        variant=variant,
                        tasks=own,
                        seed=seed,
                        fold=fold,
                        settings=full,
                        folder=folder,
                    )
                )
    return runs


def _logger(folder: Path) -> Settings:
    """A logger whose run lies in just this folder."""
    arguments = {"save_dir": str(folder.parent), "name": "", "version": folder.name}
    return {
        "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
        "init_args": {**arguments, "default_hp_metric": False},
    }


def alone(settings: Settings, task: str, feeds: Sequence[Feed]) -> Settings:
    """The same training with one task only, on the sources that serve it."""
    found = deepcopy(settings)
    found["tasks"] = {task: found["tasks"][task]}
    serving = {feed.source for feed in feeds if task in feed.columns}
    if found["data"]["sources"]:
        found["data"]["sources"] = {
            name: source for name, source in found["data"]["sources"].items() if name in serving
        }
        for source in found["data"]["sources"].values():
            if source["tasks"] is not None:
                source["tasks"] = {task: source["tasks"][task]}
    others = set(settings["tasks"]) - {task}
    for stage in found["freezing"]["stages"]:
        stage["freeze"] = [part for part in stage["freeze"] if part not in _heads(others)]
        # a stage in which only others learn is one of this task's training as well
        stage["loss_weights"] = {
            name: weight
            for name, weight in stage["loss_weights"].items()
            if name == task and weight
        }
    watched = [
        found["checkpoint"],
        *(stage["until_plateau"] for stage in found["freezing"]["stages"]),
        *(callback.get("init_args") for callback in _callbacks(found)),
    ]
    of_others = tuple(f"{split}/{name}/" for split in ("val", "train") for name in others)
    for settings in watched:
        if settings and str(settings.get("monitor")).startswith(of_others):
            settings |= {"monitor": SELECTION_KEY, "mode": "max"}
    return found


def frozen(settings: Settings) -> Settings:
    """The same with the backbone at rest: projection and heads are linear, and so is all that learns."""
    found = deepcopy(settings)
    found["freezing"] = {"stages": [{"name": FROZEN, "freeze": ["backbone"]}]}
    found["prefix_cache"] |= {"mode": "auto", "keep": True}  # the other seeds read it too
    found["protection"]["weight"] = 0.0
    return found


def _heads(tasks: set[str]) -> set[str]:
    return {f"heads.{task}" for task in tasks}


def _of_split(settings: Settings, *, seed: int, fold: int, folds: int) -> Settings:
    """With a seed and a fold, and what every run has."""
    found = deepcopy(settings)
    found["seed_everything"] = seed
    if folds > 1:
        found["data"] |= {"folds": folds, "fold": fold}
    found["ckpt_path"] = "auto"
    found["checkpoint"]["dirpath"] = None
    found["dashboards"]["enabled"] = False
    found["pairs"]["path"] = None
    kept = {"class_path": f"{KeptRows.__module__}.{KeptRows.__name__}"}
    found["trainer"]["callbacks"] = [*_callbacks(found), kept]
    return found


def _callbacks(settings: Settings) -> list[Settings]:
    """The callbacks that the config adds."""
    callbacks = settings["trainer"]["callbacks"] or []
    return callbacks if isinstance(callbacks, list) else [callbacks]


def _as_yaml(settings: Mapping[str, Any]) -> bytes:
    return yaml.safe_dump(dict(settings), sort_keys=True, allow_unicode=True).encode()


def _fit(config: Path, log: Path, stopping: Event, threads: int | None) -> int | None:
    """Run `fit` with all that it prints in a file; its exit code, None if it was ended before.

    It does not outlive a stop here.
    """
    environment = {name: value for name, value in os.environ.items() if name != FIRST_PROCESS}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    words = [sys.executable, "-m", "lit_mtl", "fit", "--config", str(config)]
    with log.open("ab") as file:
        process = subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None and not stopping.wait(_POLL):
                pass
            return process.poll()
        finally:
            if process.poll() is None:
                process.terminate()  # it saves at the end of its step
                process.wait()


def _wait_for_another(folder: Path, stopping: Event) -> None:
    """Wait for a run that goes on after the `compare` that began it was killed."""
    while not stopping.is_set():
        try:
            with locked(folder / "checkpoints"):
                return
        except ConfigError:
            stopping.wait(1)


def finish_all(runs: Sequence[Run], *, jobs: int, begun: Callable[[Run], None]) -> None:
    """Train and measure what is not finished yet.

    If one fails or this process is told to stop, no more are begun and those that train are ended;
    each goes on where it was when it is finished anew.

    Args:
        runs: in the order in which they begin.
        jobs: how many train at a time; each has its share of the threads, since those of several
            that wait for each other on one processor take many times as long.
        begun: called in this thread as each of them begins.

    Raises:
        LitMTLError: if one fails.
    """
    stopping, waiting, training = Event(), list(runs), set[Future[None]]()
    threads = None if jobs == 1 else max(1, torch.get_num_threads() // jobs)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while waiting or training:
                while waiting and len(training) < jobs:
                    run = waiting.pop(0)
                    begun(run)
                    training.add(pool.submit(run.finish, stopping, threads=threads))
                done, training = wait(training, return_when=FIRST_COMPLETED)
                for each in done:
                    each.result()
        finally:
            stopping.set()


def time_left(runs: Sequence[Run]) -> float | None:
    """Seconds that the unfinished runs may take, by what the finished ones took; None: none is."""
    known: dict[str, list[float]] = {}
    for run in runs:
        if run.is_finished:
            known.setdefault(run.kind, []).append(run.wall_seconds)
    if not known:
        return None
    everything = [seconds for each in known.values() for seconds in each]
    return sum(_mean(known.get(run.kind, everything)) for run in runs if not run.is_finished)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def of_task(runs: Sequence[Run], task: str) -> dict[str, list[list[HeldOutRows]]]:
    """The rows of a task by variant, fold and seed: `together` first."""
    found: dict[str, dict[int, list[HeldOutRows]]] = {
        name: {} for name in (TOGETHER, ALONE, FROZEN)
    }
    for run in runs:
        if task in run.tasks:
            found[run.variant].setdefault(run.fold, []).append(run.rows()[task])
    return {name: list(folds.values()) for name, folds in found.items()}
