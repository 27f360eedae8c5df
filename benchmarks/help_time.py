"""How long help takes, and a training until its first step, beside the imports of the libraries.

    python benchmarks/help_time.py [--rounds 5] [--backbone minilm]

Each command is a process of its own; all of them run in turn, round after round. The first step is that of
the quickstart's config on the example sentences, whose prepared data lie in the cache. A figure is
the median over the rounds; the time of the processor is changed least by other load on the machine.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from tabulate import tabulate

ROOT = Path(__file__).parents[1]


class FirstStep(Callback):
    """Ends the process where its first training step would begin."""

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        """End at once, without what a clean end would still do."""
        os._exit(0)


def commands(backbone: str) -> dict[str, list[str]]:
    """What is measured: its name, and what stands behind `python`."""
    data = f"--data.path={ROOT / 'examples' / 'own_files'}"
    fit = ["-m", "lit_mtl", "fit", f"--config={ROOT / 'configs' / 'quickstart.yaml'}", data]
    fit += ["--data.corpus=null", "--data.val_fraction=0.2", "--data.test_fraction=0.2"]
    fit += [f"--model.backbone={backbone}", "--trainer.accelerator=cpu"]
    return {
        "lit_mtl --help": ["-m", "lit_mtl", "--help"],
        "lit_mtl fit --help": ["-m", "lit_mtl", "fit", "--help"],
        "import lightning.pytorch.cli": ["-c", "import lightning.pytorch.cli"],
        "import torch, transformers, lightning.pytorch.cli": [
            "-c",
            "import torch, transformers, lightning.pytorch.cli",
        ],
        "lit_mtl fit, to its first step": [*fit, "--trainer.callbacks+=help_time.FirstStep"],
    }


def timed(words: list[str], folder: str) -> tuple[float, float]:
    """Seconds of a process: on the clock, and of the processor."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "benchmarks")])
    environment = {**os.environ, "PYTHONPATH": path, "LIT_MTL_ALLOW_IMPORTS": "help_time"}
    environment |= {"XDG_CACHE_HOME": folder, "HF_HUB_OFFLINE": "1"}
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begun, spent


def main() -> None:
    """Measure in turn and print a row a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backbone", default="minilm")
    arguments = parser.parse_args()
    measured = commands(arguments.backbone)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in measured}
    with tempfile.TemporaryDirectory() as folder:
        for words in measured.values():
            timed(words, folder)  # files are read into memory, and data prepared
        for _ in range(arguments.rounds):
            for name, words in measured.items():
                found[name].append(timed(words, folder))
    rows = [
        [name, *(f"{statistics.median(values):.2f}" for values in zip(*times, strict=True))]
        for name, times in found.items()
    ]
    print(f"medians of {arguments.rounds} rounds")
    print(tabulate(rows, ["", "seconds", "of the processor"], disable_numparse=True))


if __name__ == "__main__":
    main()
