"""What is logged now and then is what logging at every step would show where it is read."""

import csv
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger

from lit_mtl.module import MultiTaskModule
from tests.conftest import example_data


class Seen(Callback):
    """The true loss of each step, and what callbacks and loggers read of it."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.read: list[tuple[int, float]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(float(outputs["loss"]))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = trainer.callback_metrics["train/loss"]
        self.read.append((len(self.losses) - 1, float(loss)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"val_check_interval": 2},
        {"val_check_interval": 4, "check_val_every_n_epoch": None},
        {"max_steps": 7},
    ],
    ids=str,
)
def test_readers_find_the_value_of_their_own_step(
    tiny_bert: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    seen, logger = Seen(), CSVLogger(tmp_path)
    module = MultiTaskModule(str(tiny_bert), pretrained=False)
    written: list[int] = []
    own = module.log

    def counted(name: str, *args: Any, **options: Any) -> None:
        if name == "train/loss":
            written.append(len(seen.losses))
        own(name, *args, **options)

    module.log = counted  # type: ignore[method-assign]
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        log_every_n_steps=3,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=logger,
        default_root_dir=tmp_path,
        callbacks=[seen],
        **options,
    )
    trainer.fit(module, datamodule=example_data(tiny_bert, batch_size=8))
    assert seen.read
    assert [loss for _, loss in seen.read] == [seen.losses[step] for step, _ in seen.read]
    logger.save()
    with Path(logger.log_dir, "metrics.csv").open() as file:
        logged = {
            int(row["step"]): float(row["train/loss"])
            for row in csv.DictReader(file)
            if row["train/loss"]
        }
    due = [step for step in range(len(seen.losses)) if step % 3 == 2]
    assert {step: logged[step] for step in due} == pytest.approx(
        {step: seen.losses[step] for step in due}
    )
    assert len(written) < len(seen.losses)  # and between these moments nothing is kept
