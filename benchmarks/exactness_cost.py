"""What exact resume costs: time of a training step with its machinery over that without, and of a save.

    python benchmarks/exactness_cost.py [--backbone minilm] [--rounds 7] [--steps 20]

Both sides train in turn, through the Trainer, on the same batches; a figure is the median over the
rounds of the ratio within a round. Time of a step is processor time, which other load on the machine changes
least. The machinery is: new random numbers for each batch, the decision between two steps, and the
look at the gradients' norm. As this is less than the noise, its calls are also timed by themselves. A
save is measured by the clock on the wall.
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
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_mtl.callbacks.checkpointing import Checkpointing
from lit_mtl.callbacks.divergence_guard import DivergenceGuard
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.module import MultiTaskModule

ROOT = Path(__file__).parents[1]


class Timer(Callback):
    """Median processor time of a step, from one batch's start to the next one's."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Take the time."""
        self.marks.append(time.process_time())

    def median(self) -> float:
        """The median step."""
        steps = [
            later - earlier for earlier, later in zip(self.marks, self.marks[1:], strict=False)
        ]
        return statistics.median(steps)


class SaveTimer(Checkpointing):
    """Takes the time of each resumable checkpoint."""

    seconds_of_saves: list[float]

    def _save(self, trainer: Trainer, epoch: int, batches: int) -> None:
        begun = time.perf_counter()
        super()._save(trainer, epoch, batches)
        self.seconds_of_saves.append(time.perf_counter() - begun)


def timed(call: Callable[..., None], seconds: list[float]) -> Callable[..., None]:
    """The same call, which notes its processor time."""

    def run(*args: Any) -> None:
        begun = time.process_time()
        call(*args)
        seconds.append(time.process_time() - begun)

    return run


def train(
    arguments: argparse.Namespace, callbacks: list[Callback], calls: list[float] | None = None
) -> float:
    """Median step of a short run; `calls` takes the time of each call of the callbacks in a step."""
    torch.manual_seed(0)
    timer = Timer()
    for callback in callbacks:
        for hook in ("on_train_batch_start", "on_before_optimizer_step"):
            setattr(callback, hook, timed(getattr(callback, hook), [] if calls is None else calls))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=1,
            limit_train_batches=arguments.steps,
            limit_val_batches=0,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=bool(callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            callbacks=[timer, *callbacks],
        )
        module = MultiTaskModule(arguments.backbone, lr=1e-4)
        trainer.fit(module, datamodule=SentimentDataModule(arguments.data, batch_size=32))
    return timer.median()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--data", default=str(ROOT / "data" / "movies"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    silence_upstream_notes()
    warnings.filterwarnings("ignore")
    ratios: list[float] = []
    steps: list[float] = []
    saves: list[float] = []
    calls: list[float] = []
    for _ in range(arguments.rounds):
        plain = train(arguments, [])
        saving = SaveTimer(every_n_minutes=None)
        saving.seconds_of_saves = saves
        exact = train(arguments, [DivergenceGuard(), saving], calls)
        ratios.append(exact / plain)
        steps.append(plain)
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"step with over without: median {middle:.3f} ({low:.3f} to {high:.3f}), ", end="")
    print(f"{arguments.rounds} rounds of {arguments.steps} steps")
    step, save = statistics.median(steps), statistics.median(saves)
    own = sum(calls) / arguments.rounds / arguments.steps
    print(f"the machinery's own calls: {own / step:.2%} of a step")
    print(f"a save takes {save:.2f} s, the time of {save / step:.1f} steps of {step:.2f} s")
    print(f"at the default of 15 minutes and an epoch's end at least: {save / 900:.2%} of the time")


if __name__ == "__main__":
    main()
