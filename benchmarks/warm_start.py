"""Going on from a trained model beside beginning anew: the same two tasks on few sentences of another source.

    python benchmarks/warm_start.py [--seeds 0 1 2] [--threads 1]   # an hour; resumable
    python benchmarks/warm_start.py --table                         # of what is recorded so far

The quickstart's model, of the movies, is trained and exported once. Then both tasks are trained on some hundred
sentences of each other source: on the pre-trained encoder; on the backbone of the export; and with `model.warm_start`.
A seed draws the sentences to train on, 100 to validate on and 1,000 to test on, the same for the three. The epochs
are those that `init` would write. A line a run is kept in benchmarks/results/warm_start.jsonl, and a recorded run is
not repeated.
"""

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "warm_start.jsonl"

BATCH = 16

SIDES = {
    "pre-trained encoder": lambda options, trained: [f"--model.backbone={options.backbone}"],
    "trained backbone": lambda options, trained: [f"--model.backbone={trained}"],
    "warm start": lambda options, trained: [
        f"--model.backbone={trained}",
        "--model.warm_start=true",
    ],
}
"""Options of each way to begin."""


def main() -> None:
    """Run what is not on record yet, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--held_out", type=int, nargs=2, default=[100, 1000], help="val and test")
    parser.add_argument("--sources", type=Path, nargs="+", default=[Path("tweets"), Path("amazon")])
    parser.add_argument("--first", type=Path, default=Path("movies"), help="trained on before")
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="the folder of them all")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", type=Path, default=RESULTS)
    parser.add_argument("--runs", type=Path, default=ROOT / "lightning_logs" / "warm_start")
    parser.add_argument("--table", action="store_true", help="only show what is on record")
    options, rest = parser.parse_known_args()
    for seed in [] if options.table else options.seeds:
        for source in options.sources:
            for rows in options.rows:
                for side in SIDES:
                    key = {"source": source.name, "rows": rows, "seed": seed, "side": side}
                    if any(key.items() <= run.items() for run in recorded(options.record)):
                        continue
                    found = measure(options, rest, source, rows, seed, side)
                    with options.record.open("a") as file:
                        file.write(json.dumps(key | found) + "\n")
    print(table(recorded(options.record)))


def measure(
    options: argparse.Namespace,
    rest: Sequence[str],
    source: Path,
    rows: int,
    seed: int,
    side: str,
) -> dict[str, Any]:
    """Train on some rows of a source; the metrics of its test sentences."""
    path = options.runs / f"{source.name}_{rows}_{seed}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(options.data / source, path, rows=rows, held_out=options.held_out, seed=seed)
    epochs = min(30, max(3, math.ceil(300 / math.ceil(rows / BATCH))))
    mine = {"path": str(path), "split": "split", "tasks": {"sentiment": "label", "score": "score"}}
    words = [
        f"--data.sources={json.dumps({'mine': mine})}",
        f"--data.batch_size={BATCH}",
        f"--trainer.max_epochs={epochs}",
        f"--seed_everything={seed}",
        *SIDES[side](options, trained(options, rest)),
        *rest,
    ]
    folder = options.runs / f"{path.stem}_{side.replace(' ', '_')}"
    test = fit(options, words, folder)["test"]
    return {"accuracy": test["sentiment"]["accuracy"], "pearson": test["score"]["pearson"]}


def trained(options: argparse.Namespace, rest: Sequence[str]) -> Path:
    """The exported model of the first source, made once."""
    folder: Path = options.runs / "exported"
    if not folder.is_dir():
        run = options.runs / "first"
        words = [f"--data.path={options.data / options.first}", "--data.batch_size=32"]
        fit(options, [*words, f"--model.backbone={options.backbone}", *rest], run)
        checkpoint = run / "checkpoints" / "best.ckpt"
        command(options, ["export", f"--ckpt_path={checkpoint}", f"--output={folder}"])
    return folder


def fit(options: argparse.Namespace, words: Sequence[str], folder: Path) -> dict[str, Any]:
    """Train with the quickstart's rates; the results by split."""
    own = ["--model.lr=1e-4", f"--trainer.logger.init_args.version={folder}", "--ckpt_path=auto"]
    command(options, ["fit", *own, *words])
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())["results"]
    return results


def command(options: argparse.Namespace, words: Sequence[str]) -> None:
    """Run a command of lit_mtl, quietly."""
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    subprocess.run(
        [sys.executable, "-m", "lit_mtl", *words, "--quiet"],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )


def write_rows(corpus: Path, path: Path, *, rows: int, held_out: Sequence[int], seed: int) -> None:
    """A table of drawn sentences with label, score and split; a seed's test sentences are those of any `rows`."""
    labels = {
        text: name
        for name in ("negative", "positive")
        for text in (corpus / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    }
    header, *lines = (corpus / "scores.tsv").read_text(encoding="utf-8").splitlines()
    text, score = (header.split("\t").index(name) for name in ("text", "score"))
    cells = [line.split("\t") for line in lines]
    drawn = random.Random(seed).sample(cells, len(cells))
    val, test = held_out
    parts = {"test": drawn[:test], "val": drawn[test:][:val], "train": drawn[test + val :][:rows]}
    written = [
        f"{row[text]}\t{labels.get(row[text], '')}\t{row[score]}\t{split}\n"
        for split, part in parts.items()
        for row in part
    ]
    path.write_text("text\tlabel\tscore\tsplit\n" + "".join(written), encoding="utf-8")


def recorded(path: Path) -> list[dict[str, Any]]:
    """The runs on record."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def table(runs: Iterable[dict[str, Any]]) -> str:
    """A row a source, number of sentences and side: mean and range over the seeds."""
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["source"], run["rows"], run["side"]), []).append(run)
    cells = [
        [*key, len(own), *(_spread([run[name] for run in own]) for name in ("pearson", "accuracy"))]
        for key, own in sorted(
            groups.items(), key=lambda item: (item[0][:2], list(SIDES).index(item[0][2]))
        )
    ]
    return tabulate(
        cells, ["source", "sentences", "begins with", "seeds", "test pearson r", "test accuracy"]
    )


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{statistics.mean(known):.3f} ({min(known):.3f} to {max(known):.3f})"


if __name__ == "__main__":
    main()
