"""Runs as they lie on disk: their states, their scalars and their traces, to be compared."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TRACE = "--trainer.callbacks+=tests.faults.Trace"


def fault(**options: object) -> list[str]:
    """The words that add a `tests.faults.Fault` to a command."""
    given = [f"--trainer.callbacks.init_args.{name}={value}" for name, value in options.items()]
    return ["--trainer.callbacks+=tests.faults.Fault", *given]


def run_folder(folder: Path, version: int = 0) -> Path:
    """The folder of a run that was started in a working directory."""
    return folder / "lightning_logs" / "runs" / f"version_{version}"


def newest_run(folder: Path) -> Path:
    """The folder of the newest run: another one than the first if that was killed too early."""
    return max(run_folder(folder).parent.iterdir(), key=lambda run: int(run.name[8:]))


def last_state(run: Path) -> dict[str, Any]:
    """All that a run's last checkpoint holds, flat; without what says when and where it was made."""
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return {
        key: value
        for key, value in _flat(state)
        if not (
            key.startswith("/callbacks/Fault")
            or "/settings/trainer.callbacks." in key  # the faults and traces of a test
            or key.endswith("/seconds")
        )
    }


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The entries that are not equal to the bit."""
    return [
        key
        for key in sorted({*one, *other})
        if key not in one or key not in other or not _equal(one[key], other[key])
    ]


def scalars_of(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run: tag to steps and values; one NaN, which equals itself in a list."""
    events = EventAccumulator(str(run))
    events.Reload()
    return {
        tag: [
            (event.step, math.nan if math.isnan(event.value) else event.value)
            for event in events.Scalars(tag)
        ]
        for tag in events.Tags()["scalars"]
    }


def trace_of(folder: Path, rank: int = 0) -> list[dict[str, Any]]:
    """What each step did, in the order in which the steps were taken."""
    path = folder / f"trace_{rank}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _flat(part, f"{key}/{name}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _flat(part, f"{key}/{number}")
    else:
        yield key, value


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return bool(one == other)
