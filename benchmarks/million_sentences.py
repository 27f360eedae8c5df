"""A million sentences through `embed` and `predict`: time, throughput, peak memory, order.

    python benchmarks/million_sentences.py [--sentences 1000000]   # resumable
    python benchmarks/million_sentences.py --table                 # of what is recorded so far

Each command runs as a user runs it, in a process of its own, with an exported folder of a small random
model: first on a tenth of the sentences, then on all of them. Its peak is that of the operating system,
with its imports and what it maps of files. Then rows at both ends, around the edges of the windows in
which it reads, and at random places are compared with the same sentences embedded or predicted alone,
and the output's folder is searched for unfinished files. A line a run is kept in
benchmarks/results/million_sentences.jsonl, and a recorded run is not repeated.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "million_sentences.jsonl"
BACKBONE = ROOT / "examples" / "tiny_bert"

OUTPUTS = {"embed": "out.npy", "predict": "out.jsonl"}

_PLACES = 200
_CLOSE = 1e-5


def sentences(number: int) -> Iterator[str]:
    """Random sentences of 1 to 24 words, no two alike."""
    draw = random.Random(0)
    words = [
        "the",
        "film",
        "is",
        "not",
        "a",
        "very",
        "good",
        "movie",
        "but",
        "its",
        "story",
        "and",
        "acting",
        "was",
        "too",
        "much",
        "for",
        "my",
        "plot",
    ]
    for place in range(number):
        yield f"{' '.join(draw.choices(words, k=draw.randint(1, 24)))} {place}"


def measured(command: list[str], threads: int) -> tuple[float, int]:
    """Seconds and peak memory in bytes of a process that must end well.

    Linux counts the memory of whoever starts a process as that process's own before it runs its
    program. So this one imports nothing large.
    """
    begun = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)  # it has been waited for
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return seconds, usage.ru_maxrss * 1024


def places(number: int) -> list[int]:
    """Rows to be looked at: both ends, the edges of windows, and random ones."""
    from lit_mtl.data.inputs import WINDOW

    edges = [edge + side for edge in range(WINDOW, number, 64 * WINDOW) for side in (-1, 0)]
    drawn = random.Random(1).sample(range(number), min(number, _PLACES))
    return sorted({0, number - 1, *edges, *drawn})


def check(model: str, output: str, number: str) -> None:
    """Compare rows of an output with their sentences alone; prints the largest difference.

    In a process of its own, as it imports torch.
    """
    import numpy as np

    from lit_mtl import load
    from lit_mtl.files import PARTIAL

    path, rows = Path(output), int(number)
    wanted = places(rows)
    chosen = set(wanted)
    texts = [text for place, text in enumerate(sentences(rows)) if place in chosen]
    loaded = load(model)
    if path.suffix == ".npy":
        vectors = np.load(path, mmap_mode="r")
        assert vectors.shape == (rows, loaded.network.architecture.embedding_dim), vectors.shape
        alone = np.stack([loaded.embed([text])[0].numpy() for text in texts])
        difference = float(abs(vectors[wanted] - alone).max())
    else:
        difference = _predictions_differ(path, rows, dict(zip(wanted, texts, strict=True)), loaded)
    assert difference <= _CLOSE, f"rows differ by {difference} from their sentences alone"
    left = [each.name for each in path.parent.iterdir() if each.name.startswith(PARTIAL)]
    assert not left, left
    print(json.dumps({"checked": len(texts), "difference": difference}))


def _predictions_differ(path: Path, rows: int, texts: dict[int, str], model: Any) -> float:
    """Largest difference of scores and probabilities; texts and labels must be equal."""
    differences, read = [0.0], 0
    with path.open(encoding="utf-8") as file:
        for place, line in enumerate(file):
            read += 1
            if (text := texts.get(place)) is None:
                continue
            row, alone = json.loads(line), model.predict([text])[0]
            assert row["text"] == text, f"row {place} is not that of its sentence"
            found, expected = _numbers(row["predictions"]), _numbers(alone)
            differences += [abs(a - b) for a, b in zip(found, expected, strict=True)]
    assert read == rows, read
    return max(differences)


def _numbers(value: Any) -> list[float]:
    """All numbers of nested values, in their order."""
    if isinstance(value, dict):
        return [number for part in value.values() for number in _numbers(part)]
    return [float(value)] if isinstance(value, int | float) else []


def run(command: str, number: int, folder: Path, threads: int) -> dict[str, Any]:
    """One command on that many sentences, and what is recorded of it."""
    path, output = folder / "in.txt", folder / "out" / OUTPUTS[command]
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{text}\n" for text in sentences(number))
    words = [sys.executable, "-m", "lit_mtl", command, "--ckpt_path", str(folder / "model")]
    words += ["--input", str(path), "--output", str(output)]
    seconds, peak = measured(words, threads)
    own = [sys.executable, __file__, "--part", "check", str(folder / "model"), str(output)]
    done = subprocess.run([*own, str(number)], check=True, stdout=subprocess.PIPE)
    size = output.stat().st_size
    output.unlink()
    return {
        "command": command,
        "output": output.suffix,
        "sentences": number,
        "threads": threads,
        "seconds": round(seconds, 2),
        "peak": peak,
        "bytes": size,
        **json.loads(done.stdout),
    }


def table(runs: Iterable[dict[str, Any]]) -> str:
    """A row a run, and how the peak grows with ten times the sentences."""
    known = {(run["command"], run["sentences"]): run for run in runs}
    rows = []
    for (command, number), run in sorted(known.items()):
        tenth = known.get((command, number // 10))
        rows.append(
            [
                f"{command} to {run['output']}",
                f"{number:,}",
                f"{run['seconds']:.0f}",
                f"{number / run['seconds']:,.0f}",
                f"{run['bytes'] / 1e6:,.0f}",
                f"{run['peak'] / 1e6:,.0f}",
                f"{run['peak'] / tenth['peak']:.2f}" if tenth else "",
                f"{run['difference']:.1e}",
            ]
        )
    headers = ["", "sentences", "seconds", "rows a second", "output, MB", "peak, MB"]
    headers += ["over a tenth's", "largest difference"]
    return tabulate(rows, headers, disable_numparse=True)


def recorded(path: Path) -> list[dict[str, Any]]:
    """The runs on record."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def measure(arguments: argparse.Namespace) -> None:
    """Run what is not on record yet."""
    wanted = [
        (command, number)
        for command in OUTPUTS
        for number in (arguments.sentences // 10, arguments.sentences)
    ]
    done = {(run["command"], run["sentences"]) for run in recorded(arguments.record)}
    left = [each for each in wanted if each not in done]
    if not left:
        return
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        part = [sys.executable, __file__, "--part", "model", f"{folder}/model"]
        subprocess.run(part, check=True)
        for command, number in left:
            found = run(command, number, Path(folder), arguments.threads)
            with arguments.record.open("a") as file:
                file.write(json.dumps(found) + "\n")


def write_model(folder: str) -> None:
    """Write the small random model; in a process of its own, as it imports torch."""
    from untrained import write_untrained

    write_untrained(str(BACKBONE), Path(folder), pretrained=False)


def main() -> None:
    """Run what is not on record yet, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sentences", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1, help="a small model gains by none")
    parser.add_argument("--table", action="store_true", help="only show what is on record")
    parser.add_argument("--record", type=Path, default=RESULTS, help="a line a run")
    parser.add_argument("--scratch", default=ROOT, help="where there is room for the files, 1.2 GB")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        part, *words = arguments.part
        check(*words) if part == "check" else write_model(*words)
        return
    if not arguments.table:
        measure(arguments)
    print(table(recorded(arguments.record)))


if __name__ == "__main__":
    main()
