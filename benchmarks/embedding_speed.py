"""Sentences a second: `embed` beside `SentenceTransformer.encode`, with the same folder and float32.

    python benchmarks/embedding_speed.py [--threads 1] [--rounds 5]   # an hour; resumable
    python benchmarks/embedding_speed.py --table                      # of what is recorded so far

The sentences are real, those of the four rated corpora, shuffled; the model is MiniLM with a projection
and heads, in an exported folder that both load. `encode` runs with its default, batches of 32, and with
others, of which the best one counts too. In a round all sides embed all sentences in turn, so that other
load on the machine meets all of them; a row shows the median over the rounds of the ratio of times in
the same round. Both sides have the same number of threads, for torch and for the tokenizer. A line a
round is kept in benchmarks/results/embedding_speed.jsonl; recorded rounds are not repeated.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from tabulate import tabulate

from lit_mtl.artifact import load
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.data.downloads import CORPORA, prepare_corpora
from lit_mtl.data.inputs import Input
from lit_mtl.tokenization import tokenize
from untrained import write_untrained

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "embedding_speed.jsonl"

OURS = "lit_mtl"
DEFAULT = 32
BATCH_SIZES = (16, DEFAULT, 64, 128)

_WARM_UP = 64


def texts_of(tables: Iterable[Path], number: int) -> list[str]:
    """That many distinct sentences of tables, shuffled."""
    windows = (window for table in tables for window in Input(path=table).windows())
    distinct = sorted({text for window in windows for text in window.texts})
    random.Random(0).shuffle(distinct)
    return distinct[:number]


def tables_of(data: Path) -> list[Path]:
    """Tables of the four corpora, which are fetched once."""
    prepare_corpora([(name, data / name) for name in CORPORA])
    return [data / name / "scores.tsv" for name in CORPORA]


def sides(folder: Path) -> dict[str, Callable[[list[str]], torch.Tensor]]:
    """Who embeds; those with a number are `encode` with batches of so many."""
    ours, stock = load(folder), SentenceTransformer(str(folder), device="cpu")
    parameters = [*ours.network.parameters(), *stock.parameters()]
    assert {parameter.dtype for parameter in parameters} == {torch.float32}

    def encode(batch_size: int) -> Callable[[list[str]], torch.Tensor]:
        def run(texts: list[str]) -> torch.Tensor:
            vectors = stock.encode(texts, batch_size=batch_size, show_progress_bar=False)
            return torch.as_tensor(vectors)

        return run

    return {OURS: ours.embed, **{str(size): encode(size) for size in BATCH_SIZES}}


def one_round(
    embedders: dict[str, Callable[[list[str]], torch.Tensor]], texts: list[str]
) -> dict[str, Any]:
    """Seconds of each side, and the largest difference of its numbers to ours."""
    found, seconds = {}, {}
    for name, embed in embedders.items():
        begun = time.perf_counter()
        found[name] = embed(texts)
        seconds[name] = round(time.perf_counter() - begun, 3)
    return {
        "seconds": seconds,
        "difference": max(float((each - found[OURS]).abs().max()) for each in found.values()),
        "largest": float(found[OURS].abs().max()),
    }


def measure(arguments: argparse.Namespace) -> None:
    """Run the rounds that are not on record yet."""
    setting = {"sentences": arguments.sentences, "threads": arguments.threads}
    done = [run for run in recorded(arguments.record) if setting.items() <= run.items()]
    if len(done) >= arguments.rounds:
        return
    texts = texts_of(arguments.tables or tables_of(arguments.data), arguments.sentences)
    assert len(texts) == arguments.sentences, f"there are {len(texts)} sentences"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        write_untrained(arguments.backbone, folder, pretrained=True)
        embedders = sides(folder)
        lengths = [len(ids) for ids in tokenize(load(folder).tokenizer, texts)[0]]
    for embed in embedders.values():
        embed(texts[:_WARM_UP])
    for number in range(len(done), arguments.rounds):
        order = list(embedders.items())[:: -1 if number % 2 else 1]
        line = {**setting, "tokens": sum(lengths), **one_round(dict(order), texts)}
        with arguments.record.open("a") as file:
            file.write(json.dumps(line) + "\n")


def table(rounds: Sequence[dict[str, Any]]) -> str:
    """For each setting a row a side, and how much faster ours is."""
    settings = sorted({(run["sentences"], run["threads"]) for run in rounds})
    parts = []
    for sentences, threads in settings:
        own = [run for run in rounds if (run["sentences"], run["threads"]) == (sentences, threads)]
        parts.append(
            f"{sentences:,} sentences, {own[0]['tokens'] / sentences:.1f} tokens each, "
            f"threads: {threads}, rounds: {len(own)}\n\n{_sides(own)}\n\n"
            f"largest difference {max(run['difference'] for run in own):.1e}, "
            f"where the largest number is {own[0]['largest']:.2f}"
        )
    return "\n\n".join(parts)


def _sides(rounds: Sequence[dict[str, Any]]) -> str:
    """Rows a second of each side, and its time over ours: median and range."""
    medians = {
        size: statistics.median(run["seconds"][str(size)] for run in rounds) for size in BATCH_SIZES
    }
    best = min(medians, key=lambda size: medians[size])
    names = {OURS: "lit_mtl embed"}
    for size in BATCH_SIZES:
        note = ", ".join(["default"] * (size == DEFAULT) + ["best"] * (size == best))
        names[str(size)] = f"encode, batches of {size}{f' ({note})' if note else ''}"
    rows = []
    for name, shown in names.items():
        ratios = sorted(run["seconds"][name] / run["seconds"][OURS] for run in rounds)
        seconds = statistics.median(run["seconds"][name] for run in rounds)
        rows.append(
            [
                shown,
                f"{rounds[0]['sentences'] / seconds:,.0f}",
                f"{statistics.median(ratios):.2f}",
                f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
            ]
        )
    return tabulate(rows, ["", "rows a second", "time", "range"], disable_numparse=True)


def recorded(path: Path) -> list[dict[str, Any]]:
    """The rounds on record."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def main() -> None:
    """Run what is not on record yet, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sentences", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where the corpora go")
    parser.add_argument("--tables", type=Path, nargs="+", help="files in place of the corpora")
    parser.add_argument("--table", action="store_true", help="only show what is on record")
    parser.add_argument("--record", type=Path, default=RESULTS, help="a line a round")
    arguments = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = str(arguments.threads)  # the tokenizer's; read at first use
    torch.set_num_threads(arguments.threads)
    silence_upstream_notes()
    if not arguments.table:
        measure(arguments)
    print(table(recorded(arguments.record)))


if __name__ == "__main__":
    main()
