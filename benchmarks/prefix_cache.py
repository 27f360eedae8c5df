"""What the cache of frozen layers saves, beside this project's own training without it.

    python benchmarks/prefix_cache.py [--rows 1000] [--rounds 5]   # a quarter of an hour; resumable
    python benchmarks/prefix_cache.py --table                      # of what is recorded so far

Model, rows and trainer are those of `training_speed.py`; each training is a process of its own, the
trainings of a round follow one another, and ratios are taken within a round. Times are those of whole
calls of `fit`, filling of the cache included, and of epochs in them. Where the backbone is frozen, batches
have several sizes: a step that reads pooled vectors takes hardly longer for more of them. Quality is that
on all test sentences of the corpus.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tabulate import tabulate
from torchmetrics.functional import pearson_corrcoef

from lit_mtl.callbacks.prefix_cache import PrefixCache
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.pretrained import load_tokenizer
from training_sides import SCHEMES, Job, Prepared, lit_mtl, predicted
from training_speed import ROOT, in_process, recorded, write_rows

RESULTS = ROOT / "benchmarks" / "results" / "prefix_cache.jsonl"

PROBE_EPOCHS = 20
PROBE_BATCHES = (32, 128)


class Training(NamedTuple):
    """What is trained."""

    scheme: str
    cached: bool
    epochs: int
    batch_size: int = 32


FULL = "full"
TOP = "top third, cached"


def probe(batch_size: int, *, cached: bool) -> str:
    """The name of a training of the heads alone."""
    return f"backbone frozen, {'' if cached else 'not '}cached, {batch_size} rows a batch"


TRAININGS = {FULL: Training("full", False, 3), TOP: Training("top third", True, 3)}
for _size in PROBE_BATCHES:
    TRAININGS[probe(_size, cached=False)] = Training("backbone frozen", False, 2, _size)
    TRAININGS[probe(_size, cached=True)] = Training("backbone frozen", True, PROBE_EPOCHS, _size)


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
    """Train in this process; what it took and what it gave."""
    training = TRAININGS[name]
    job = Job(
        rows=rows,
        backbone=backbone,
        frozen=SCHEMES[training.scheme],
        epochs=training.epochs,
        batch_size=training.batch_size,
        scratch=scratch,
    )
    prepared, times = Prepared(job), EpochTimes()
    begun = time.perf_counter()
    lit_mtl(prepared, callbacks=[PrefixCache("auto" if training.cached else "off"), times])
    seconds = time.perf_counter() - begun
    scores = predicted(prepared, "test")[0].double()
    true = torch.tensor(list(prepared.splits["test"]["target.score"]), dtype=torch.float64)
    return {
        "seconds": seconds,
        "epochs": times.seconds,
        "pearson": float(pearson_corrcoef(scores, true)),
    }


def measure(options: argparse.Namespace) -> None:
    """Run what is not on record yet, a process each."""
    done = recorded(options.record)
    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch) / "rows.jsonl"
        write_rows(
            options.data, rows, rows=options.rows, tokenizer=load_tokenizer(options.backbone)
        )
        for number in range(options.rounds):
            for name in list(TRAININGS)[:: -1 if number % 2 else 1]:
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
    parts = []
    for setting in dict.fromkeys((run["backbone"], run["rows"]) for run in runs):
        rounds: dict[int, dict[str, dict[str, Any]]] = {}
        for run in runs:
            if (run["backbone"], run["rows"]) == setting:
                rounds.setdefault(run["round"], {})[run["run"]] = run
        whole = [found for found in rounds.values() if set(found) == set(TRAININGS)]
        if whole:
            title = "{}, {} rows, one thread, rounds: {}".format(*setting, len(whole))
            parts += [title, _stages(whole), _probes(whole)]
    return "\n\n".join(parts)


def _stages(rounds: Sequence[dict[str, dict[str, Any]]]) -> str:
    """Three epochs of all layers over three of the top third."""
    ratios = [found[FULL]["seconds"] / found[TOP]["seconds"] for found in rounds]
    return f"three epochs, full over top third with its cache filled: {_median(ratios)}"


def _probes(rounds: Sequence[dict[str, dict[str, Any]]]) -> str:
    """A row a batch size: epochs of the heads alone, with and without the cache."""
    rows = []
    for size in PROBE_BATCHES:
        own = [
            (found[probe(size, cached=False)], found[probe(size, cached=True)]) for found in rounds
        ]
        plain = [run["epochs"][-1] for run, _ in own]
        later = [statistics.median(run["epochs"][1:]) for _, run in own]
        row = [
            str(size),
            f"{statistics.median(plain):.2f}",
            f"{statistics.median(later):.3f}",
            _median([slow / fast for slow, fast in zip(plain, later, strict=True)]),
            _median([run["seconds"] / one for (_, run), one in zip(own, plain, strict=True)]),
            f"{statistics.median(run['pearson'] for _, run in own):.3f}",
        ]
        rows.append(row)
    headers = ["rows a batch", "an epoch, s", "cached, s", "one over the other"]
    headers += [f"{PROBE_EPOCHS} cached over one not", "test r"]
    return f"backbone frozen:\n\n{tabulate(rows, headers, disable_numparse=True)}"


def _median(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000, help="training rows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "movies")
    parser.add_argument("--record", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print what is on record")
    parser.add_argument("--one", choices=list(TRAININGS), help=argparse.SUPPRESS)
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
