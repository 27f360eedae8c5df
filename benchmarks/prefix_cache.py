"""What the cache of frozen layers saves, beside this project's own training without it.

    python benchmarks/prefix_cache.py [--rows 1000] [--rounds 5]   # some ten minutes; resumable
    python benchmarks/prefix_cache.py --table                      # of what is recorded so far

Model, rows and trainer are those of `training_speed.py`; each training is a process of its own, the
trainings of a round follow one another, and ratios are taken within a round. Times are those of whole
calls of `fit`, filling of the cache included, and of epochs in them.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_mtl.callbacks.prefix_cache import PrefixCache
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.pretrained import load_tokenizer
from training_sides import SCHEMES, Job, Prepared, lit_mtl
from training_speed import ROOT, in_process, recorded, write_rows

RESULTS = ROOT / "benchmarks" / "results" / "prefix_cache.jsonl"

PROBE_EPOCHS = 20
RUNS: dict[str, tuple[str, bool, int]] = {
    "full": ("full", False, 3),
    "top third, cached": ("top third", True, 3),
    "backbone frozen": ("backbone frozen", False, 2),
    "backbone frozen, cached": ("backbone frozen", True, PROBE_EPOCHS),
}
"""What is trained: scheme, whether its prefix is cached, epochs."""


class EpochTimes(Callback):
    """Seconds of each epoch, from its first batch's begin to its last one's end."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begun = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._begun = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End."""
        self.seconds.append(time.perf_counter() - self._begun)


def train_once(name: str, rows: Path, backbone: str, scratch: Path) -> dict[str, Any]:
    """Train in this process; what it took."""
    scheme, cached, epochs = RUNS[name]
    job = Job(rows=rows, backbone=backbone, frozen=SCHEMES[scheme], epochs=epochs, scratch=scratch)
    prepared, times = Prepared(job), EpochTimes()
    begun = time.perf_counter()
    lit_mtl(prepared, callbacks=[PrefixCache("auto" if cached else "off"), times])
    return {"seconds": time.perf_counter() - begun, "epochs": times.seconds}


def measure(options: argparse.Namespace) -> None:
    """Run what is not on record yet, a process each."""
    done = recorded(options.record)
    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch) / "rows.jsonl"
        write_rows(
            options.data, rows, rows=options.rows, tokenizer=load_tokenizer(options.backbone)
        )
        for number in range(options.rounds):
            for name in list(RUNS)[:: -1 if number % 2 else 1]:
                key = {"backbone": Path(options.backbone).name, "rows": options.rows}
                key |= {"round": number, "run": name}
                if any(key.items() <= run.items() for run in done):
                    continue
                words = [__file__, "--one", name, "--rows-file", str(rows)]
                words += ["--backbone", options.backbone]
                found = in_process(words, threads=1)
                with options.record.open("a") as file:
                    file.write(json.dumps({**key, **found}) + "\n")


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Medians of the ratios, and their range."""
    lines = []
    for setting in dict.fromkeys((run["backbone"], run["rows"]) for run in runs):
        rounds: dict[int, dict[str, dict[str, Any]]] = {}
        for run in runs:
            if (run["backbone"], run["rows"]) == setting:
                rounds.setdefault(run["round"], {})[run["run"]] = run
        whole = [found for found in rounds.values() if set(found) == set(RUNS)]
        if whole:
            lines += ["{}, {} rows, one thread, rounds: {}".format(*setting, len(whole))]
            lines += _ratios(whole)
    return "\n".join(lines)


def _ratios(rounds: Sequence[dict[str, dict[str, Any]]]) -> list[str]:
    def ratio(what: str, of: list[float]) -> str:
        return f"  {what}: {statistics.median(of):.2f} ({min(of):.2f} to {max(of):.2f})"

    full, top, plain, probe = RUNS
    once = [found[plain]["epochs"][-1] for found in rounds]
    later = [statistics.median(found[probe]["epochs"][1:]) for found in rounds]
    return [
        ratio(
            "three epochs, full over top third with its cache filled",
            [found[full]["seconds"] / found[top]["seconds"] for found in rounds],
        ),
        ratio(
            "backbone frozen, an epoch not cached over a cached one from the second on",
            [slow / fast for slow, fast in zip(once, later, strict=True)],
        ),
        ratio(
            f"backbone frozen, {PROBE_EPOCHS} epochs with the cache over one without",
            [found[probe]["seconds"] / one for found, one in zip(rounds, once, strict=True)],
        ),
        f"  seconds of an epoch, medians: {statistics.median(once):.2f} not cached, "
        f"{statistics.median(later):.3f} cached",
    ]


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000, help="training rows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "movies")
    parser.add_argument("--record", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print what is on record")
    parser.add_argument("--one", choices=list(RUNS), help=argparse.SUPPRESS)
    parser.add_argument("--rows-file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    silence_upstream_notes()
    if options.one:
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as scratch:
            found = train_once(options.one, options.rows_file, options.backbone, Path(scratch))
        print(json.dumps(found))
        return
    if not options.table:
        measure(options)
    print(table(recorded(options.record)))


if __name__ == "__main__":
    main()
