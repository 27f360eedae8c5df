"""Training speed: this project beside others that train the same model on the same rows.

    python benchmarks/training_speed.py [--rows 1000] [--epochs 1] [--rounds 5]   # hours; resumable
    python benchmarks/training_speed.py --table              # of what is recorded so far
    python benchmarks/training_speed.py --size base          # random weights of BERT-base's size, for a GPU

The sides are those of `training_sides.py`, the rows a sample of the movies corpus. Each training is a
process of its own; the clock runs from the call that trains to its return, with model and tokenised rows in
memory, on a GPU behind a first training that is not counted: kernels are loaded as they are needed. In a
round all sides train in turn, so that other load on the machine meets all of them, and a row of the table
shows medians over the rounds and of ratios within a round. Quality is that on all test sentences of the
corpus, predicted by the same code. A line a training is kept in benchmarks/results/training_speed.jsonl;
recorded ones are not repeated. It takes a GPU if there is one.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torchmetrics.functional import pearson_corrcoef
from transformers import AutoModel, BertConfig

from lit_mtl.callbacks.throughput import StepOperations, matrix_rate
from lit_mtl.commands.precision import default_precision
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.data.downloads import prepare_corpora
from lit_mtl.data.splits import SPLITS
from lit_mtl.optim.selectors import select
from lit_mtl.pretrained import load_tokenizer
from training_sides import MISSING, SCHEMES, SIDES, Job, Prepared, predicted

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "training_speed.jsonl"
BEST = "Trainer, best settings"
OURS = "lit_mtl"


def write_rows(corpus: Path, path: Path, *, rows: int, tokenizer: Any) -> None:
    """Training rows in even steps through the corpus, which is sorted, and all others.

    The corpus is fetched unless it is there.
    """
    if not corpus.exists():
        prepare_corpora([("movies", corpus)])
    data = SentimentDataModule(str(corpus), cache_dir=str(path.parent / "corpus"))
    data.tokenizer = tokenizer
    data.prepare_data()
    data.setup("fit")
    assert data.corpus is not None
    train, val, test = (data.corpus.splits[split] for split in SPLITS)
    step = max(1.0, len(train) / rows)
    chosen = [int(place * step) for place in range(min(rows, len(train)))]
    labels = ("negative", "positive")
    with path.open("w", encoding="utf-8") as file:
        for split, part in (("train", train.select(chosen)), ("val", val), ("test", test)):
            for row in part.with_format(None):
                label = row["target.sentiment"]
                line = {"text": row["text"], "score": row["target.score"], "split": split}
                line["sentiment"] = None if label is None else labels[label]
                file.write(json.dumps(line) + "\n")


def write_base(folder: Path) -> str:
    """A backbone with random weights and the size of bert-base-uncased."""
    torch.manual_seed(0)
    AutoModel.from_config(BertConfig()).save_pretrained(folder)
    load_tokenizer("minilm").save_pretrained(folder)
    return str(folder)


def train_once(side: str, job: Job) -> dict[str, Any]:
    """Train in this process; what it took and what it gave."""
    if torch.cuda.is_available():
        SIDES[side](Prepared(replace(job, scratch=job.scratch / "first")))
    prepared = Prepared(job)
    lengths = [len(ids) for ids in prepared.splits["train"]["input_ids"]]
    begun = time.perf_counter()
    SIDES[side](prepared)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - begun
    network = prepared.module.network
    frozen = select(job.frozen, network.places())
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    operations = job.epochs * StepOperations(network).of(len(lengths), sum(lengths))
    scores, labels = predicted(prepared, "test")
    test = prepared.splits["test"].with_format(None)
    known = torch.tensor([MISSING if row is None else row for row in test["target.sentiment"]])
    # Lightning leaves the network on the processor
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rates = {name: matrix_rate(device, getattr(torch, name)) for name in ("float32", "bfloat16")}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    return {
        "seconds": round(seconds, 3),
        "sentences": len(lengths) * job.epochs,
        "tokens": sum(lengths) * job.epochs,
        "operations": operations,
        "matrix_rates": rates,
        "precision": default_precision("auto").name,
        "peak": peak,
        "pearson": float(
            pearson_corrcoef(scores.double(), torch.tensor(test["target.score"]).double())
        ),
        "accuracy": float((labels == known)[known != MISSING].double().mean()),
    }


def measure(options: argparse.Namespace) -> None:
    """Run what is not on record yet, a process each."""
    setting = setting_of(options)
    done = [run for run in recorded(options.record) if setting.items() <= run.items()]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        backbone = write_base(folder / "base") if options.size == "base" else options.backbone
        rows = folder / "rows.jsonl"
        tokenizer = load_tokenizer(backbone)
        write_rows(options.data, rows, rows=options.rows, tokenizer=tokenizer)
        for number in range(options.rounds):
            for scheme in options.schemes:
                for side in list(SIDES)[:: -1 if number % 2 else 1]:
                    key = {"round": number, "scheme": scheme, "side": side}
                    if any(key.items() <= run.items() for run in done):
                        continue
                    words = _words(options, side, scheme, rows, backbone)
                    found = in_process(words, threads=options.threads)
                    with options.record.open("a") as file:
                        file.write(json.dumps({**setting, **key, **found}) + "\n")


def _words(
    options: argparse.Namespace, side: str, scheme: str, rows: Path, backbone: str
) -> list[str]:
    words = [__file__, "--one", side, "--schemes", scheme, "--rows-file", str(rows)]
    words += ["--backbone", backbone, "--epochs", str(options.epochs)]
    words += ["--batch-size", str(options.batch_size)]
    return [*words, "--threads", str(options.threads)]


def in_process(words: Sequence[str], *, threads: int) -> dict[str, Any]:
    """Run a Python file; the JSON in the last line that it prints."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def setting_of(options: argparse.Namespace) -> dict[str, Any]:
    """What must be the same for two lines to be compared."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    backbone = "base" if options.size == "base" else Path(options.backbone).name
    keys = ("rows", "epochs", "batch_size", "threads")
    return {"backbone": backbone, "device": device} | {key: getattr(options, key) for key in keys}


def table(runs: Sequence[dict[str, Any]]) -> str:
    """For each setting and scheme a row a side."""
    keys = ("backbone", "device", "rows", "epochs", "batch_size", "threads")
    parts = []
    for setting in dict.fromkeys(tuple(run[key] for key in keys) for run in runs):
        own = [run for run in runs if tuple(run[key] for key in keys) == setting]
        title = "{} on {}: {} rows, epochs: {}, rows a batch: {}, threads: {}".format(*setting)
        rows = [
            row
            for scheme in SCHEMES
            for row in _rows([run for run in own if run["scheme"] == scheme])
        ]
        headers = ["trained", "by", "sentences/s", "time over ours", "range", "of matrix rate"]
        headers += ["peak, MB", "test r", "accuracy", "rounds"]
        parts.append(f"{title}\n\n{tabulate(rows, headers, disable_numparse=True)}")
    return "\n\n".join(parts)


def _rows(runs: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Medians over the rounds that have all sides."""
    rounds: dict[int, dict[str, dict[str, Any]]] = {}
    for run in runs:
        rounds.setdefault(run["round"], {})[run["side"]] = run
    whole = [found for found in rounds.values() if set(found) == set(SIDES)]
    return [_row(side, whole) for side in SIDES if whole]


def _row(side: str, rounds: Sequence[dict[str, dict[str, Any]]]) -> list[str]:
    own = [found[side] for found in rounds]
    ratios = sorted(found[side]["seconds"] / found[OURS]["seconds"] for found in rounds)
    mixed = side in (OURS, BEST) and own[0]["precision"].startswith("bf16")
    dtype = "bfloat16" if mixed else "float32"

    def median(values: list[float]) -> float:
        return statistics.median(values)

    return [
        own[0]["scheme"],
        side,
        f"{median([run['sentences'] / run['seconds'] for run in own]):,.0f}",
        f"{median(ratios):.2f}",
        f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
        f"{median([run['operations'] / run['seconds'] / run['matrix_rates'][dtype] for run in own]):.0%}",
        f"{median([run['peak'] / 1e6 for run in own]):,.0f}",
        f"{median([run['pearson'] for run in own]):.3f}",
        f"{median([run['accuracy'] for run in own]):.3f}",
        str(len(rounds)),
    ]


def recorded(path: Path) -> list[dict[str, Any]]:
    """What is on record."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000, help="training rows")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32, help="rows of a step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--schemes", nargs="+", default=list(SCHEMES), choices=list(SCHEMES))
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--size", choices=["given", "base"], default="given")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "movies")
    parser.add_argument("--record", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print what is on record")
    parser.add_argument("--one", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--rows-file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    silence_upstream_notes()
    if options.one:
        torch.set_num_threads(options.threads)
        with tempfile.TemporaryDirectory() as scratch:
            job = Job(
                rows=options.rows_file,
                backbone=options.backbone,
                frozen=SCHEMES[options.schemes[0]],
                epochs=options.epochs,
                batch_size=options.batch_size,
                scratch=Path(scratch),
            )
            print(json.dumps(train_once(options.one, job)))
        return
    if not options.table:
        if options.size == "base" and not torch.cuda.is_available():
            print("There is no GPU here: a model of BERT-base's size takes hours on a processor")
        measure(options)
    print(table(recorded(options.record)))


if __name__ == "__main__":
    main()
