"""What the dashboards cost: time of a run with them over that of one without, and where it goes.

    python benchmarks/logging_cost.py [--backbone minilm] [--rounds 5] [--steps 268]

Both sides train in turn, through the Trainer and into TensorBoard, on the same batches, with one
validation at the end; only one of them has the callback, with its defaults. A figure is the median
over the rounds of the ratio of processor times, which other load on the machine changes least.
The hooks of the callback are also timed by themselves: those of a step, and those of a validation and of
the begin and end of a run, which do not grow with the number of steps.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lit_mtl.callbacks.dashboards import Dashboards
from lit_mtl.commands.precision import default_precision
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.module import MultiTaskModule

ROOT = Path(__file__).parents[1]

HOOKS = {
    "step": ("on_before_backward", "on_before_optimizer_step"),
    "validation": ("on_validation_batch_end", "on_validation_end", "on_train_epoch_end"),
    "begin and end": ("on_train_start", "on_train_end"),
}
"""What is timed together."""


def timed(call: Callable[..., None], seconds: list[float]) -> Callable[..., None]:
    """The same call, which notes its processor time."""

    def run(*args: Any) -> None:
        begun = time.process_time()
        call(*args)
        seconds.append(time.process_time() - begun)

    return run


def train(arguments: argparse.Namespace, callbacks: list[Callback]) -> float:
    """Processor time of a short run with a validation."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=1,
            limit_train_batches=arguments.steps,
            num_sanity_val_steps=0,
            log_every_n_steps=arguments.log_every_n_steps,
            accelerator="cpu",
            precision=default_precision("cpu")[0],  # type: ignore[arg-type]
            logger=TensorBoardLogger(folder, default_hp_metric=False),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=callbacks,
        )
        module = MultiTaskModule(arguments.backbone, lr=1e-4)
        data = SentimentDataModule(arguments.data, batch_size=32)
        begun = time.process_time()
        trainer.fit(module, datamodule=data)
        return time.process_time() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--data", default=str(ROOT / "data" / "movies"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=268, help="an epoch of movies")
    parser.add_argument("--log_every_n_steps", type=int, default=50, help="Lightning's own default")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    silence_upstream_notes()
    warnings.filterwarnings("ignore")
    train(arguments, [Dashboards()])  # what is imported and cached once
    ratios: list[float] = []
    plain: list[float] = []
    spent: dict[str, list[float]] = {part: [] for part in HOOKS}
    for _ in range(arguments.rounds):
        plain.append(train(arguments, []))
        dashboards = Dashboards()
        for part, hooks in HOOKS.items():
            for hook in hooks:
                setattr(dashboards, hook, timed(getattr(dashboards, hook), spent[part]))
        ratios.append(train(arguments, [dashboards]) / plain[-1])
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"run with over without: median {middle:.3f} ({low:.3f} to {high:.3f}), ", end="")
    print(f"{arguments.rounds} rounds of {arguments.steps} steps and a validation")
    whole = statistics.median(plain)
    print(f"a run without: {whole:.1f} s of processor time")
    for part, seconds in spent.items():
        mean = sum(seconds) / arguments.rounds
        per = f", {1000 * mean / arguments.steps:.2f} ms a step" if part == "step" else ""
        print(f"hooks of {part}: {mean:.4f} s a run, {mean / whole:.2%} of one without{per}")


if __name__ == "__main__":
    main()
