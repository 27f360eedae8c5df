"""A file larger than the memory it is read with: time, throughput, peak memory, and the second start.

    python benchmarks/large_file.py [--sentences 20000000]    # 2 GB, half an hour and 12 GB of disk

The file is written with sentences of words drawn from the tokenizer's vocabulary, about 100 bytes each,
of which every thousandth repeats an earlier one. Each start is a process of its own; its peak is that of the operating system, with
what it maps of files. Peak and time include the imports.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.data.splits import SPLITS
from lit_mtl.pretrained import load_tokenizer
from lit_mtl.tasks import Regression

ROOT = Path(__file__).parents[1]

_BLOCK = 100_000


def write(path: Path, sentences: int, backbone: str) -> None:
    """Write a TSV of random sentences with scores from 0 to 9."""
    draw = random.Random(0)
    words = sorted(word for word in load_tokenizer(backbone).get_vocab() if word.isalpha())
    with path.open("w", encoding="utf-8") as file:
        file.write("text\tscore\n")
        for first in range(0, sentences, _BLOCK):
            rows = range(first, min(first + _BLOCK, sentences))
            file.writelines(
                f"{' '.join(draw.choices(words, k=13))} {number - number % 1000}\t{number % 10}\n"
                if number % 1000
                else f"one of the repeated sentences {number // 2000}\t{number % 10}\n"
                for number in rows
            )


def start(path: Path, cache: Path, backbone: str) -> None:
    """One start, as a fit has it before its first step; prints what it took as JSON."""
    data = SentimentDataModule(
        str(path), tasks={"score": Regression(low=0, high=9)}, cache_dir=str(cache)
    )
    data.tokenizer = load_tokenizer(backbone)
    data.setup("fit")
    assert data.corpus is not None
    first = next(iter(data.train_dataloader()))
    print(
        json.dumps(
            {
                "sentences": sum(len(data.corpus.splits[split]) for split in SPLITS),
                "read": data.corpus.readings["score"].read,
                "batch": list(first["input_ids"].shape),
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    )


def main() -> None:
    """Write the file, start twice, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sentences", type=int, default=20_000_000)
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--start", nargs=2, metavar=("FILE", "CACHE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.start:
        file, cache = map(Path, arguments.start)
        start(file, cache, arguments.backbone)
        return
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:
        path = Path(folder) / "large.tsv"
        write(path, arguments.sentences, arguments.backbone)
        size = path.stat().st_size
        for name in ("first", "second"):
            words = [sys.executable, __file__, f"--backbone={arguments.backbone}", "--start"]
            begun = time.perf_counter()
            done = subprocess.run(
                [*words, str(path), f"{folder}/cache"], check=True, stdout=subprocess.PIPE
            )
            seconds = time.perf_counter() - begun
            found = json.loads(done.stdout)
            print(
                f"{name} start: {found['read']:,} rows of {size / 1e9:.2f} GB, "
                f"{found['sentences']:,} sentences kept, {seconds:.0f} s, "
                f"{found['read'] / seconds:,.0f} rows a second, peak {found['peak'] / 1e9:.2f} GB"
            )


if __name__ == "__main__":
    main()
