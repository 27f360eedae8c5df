from pathlib import Path

import pytest
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lit_mtl.callbacks.checkpointing import Checkpointing
from lit_mtl.callbacks.known_monitors import KnownMonitors, refuse_unknown_monitors
from lit_mtl.callbacks.staged_freezing import StagedFreezing
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.errors import ConfigError
from lit_mtl.evaluation import validation_keys
from lit_mtl.module import MultiTaskModule
from lit_mtl.optim.freezing_plan import Plateau, Stage
from lit_mtl.tasks import KINDS, task_from_spec
from tests.conftest import Run, example_data
from tests.recipes import fitted
from tests.test_every_kind import config, reviews, table


def staged(monitor: str) -> StagedFreezing:
    return StagedFreezing(
        [Stage(name="one", until_plateau=Plateau(monitor=monitor)), Stage(name="two")]
    )


def look(backbone: Path, data: SentimentDataModule, *callbacks: Callback) -> None:
    trainer = Trainer(
        accelerator="cpu", logger=False, callbacks=list(callbacks), enable_progress_bar=False
    )
    refuse_unknown_monitors(trainer, MultiTaskModule(str(backbone)), data)


@pytest.mark.parametrize("key", ["val/scroe/pearson", "val/score/accuracy", "val_loss", "val"])
def test_what_nothing_logs_is_refused_whoever_monitors_it(
    key: str, tiny_bert: Path, data: SentimentDataModule
) -> None:
    for callback, who in (
        (Checkpointing(monitor=key), "Checkpointing"),
        (EarlyStopping(monitor=key), "EarlyStopping"),
        (ModelCheckpoint(monitor=key), "ModelCheckpoint"),
        (staged(key), "Stage 'one'"),
    ):
        with pytest.raises(
            ConfigError, match=f"{who}: .*'{key}'.*val/score/pearson.*val/selection"
        ):
            look(tiny_bert, data, callback)


@pytest.mark.parametrize(
    "key",
    ["val/selection", "val/loss", "val/score/pearson", "train/score/loss", "stage/index", "step"],
)
def test_what_something_logs_is_not(key: str, tiny_bert: Path, data: SentimentDataModule) -> None:
    look(tiny_bert, data, Checkpointing(monitor=key), staged(key), EarlyStopping(monitor=key))
    look(tiny_bert, data, EarlyStopping(monitor="val/nothing", strict=False))


class Logs(Callback):
    """The user's own, with a metric of its own."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("val/own", 1.0)


class OwnModule(MultiTaskModule):
    """The user's own."""


def test_what_the_users_own_parts_log_may_be_monitored(
    tiny_bert: Path, data: SentimentDataModule
) -> None:
    _, trainer = fitted(tiny_bert, Logs(), KnownMonitors(), staged("val/own"))
    assert trainer.global_step > 0
    own = Trainer(accelerator="cpu", logger=False, callbacks=[staged("val/own")])
    refuse_unknown_monitors(own, OwnModule(str(tiny_bert)), data)


def test_the_known_keys_are_those_that_a_validation_logs_for_each_kind(
    tiny_bert: Path, tmp_path: Path
) -> None:
    specs = yaml.safe_load(config(tmp_path).read_text())["tasks"]
    tasks = {name: task_from_spec(spec) for name, spec in specs.items()}
    assert {task.kind for task in tasks.values()} == set(KINDS)
    table(tmp_path / "reviews.csv", reviews())
    data = example_data(tiny_bert, path=tmp_path / "reviews.csv", tasks=tasks)
    module, trainer = fitted(tiny_bert, data=data, max_epochs=1)
    logged = {key for key in trainer.callback_metrics if key.startswith("val/")}
    assert set(validation_keys(module.tasks)) == logged


def test_a_typo_ends_a_fit_before_its_first_step(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("fit", *fit_arguments, "--checkpoint.monitor=val/scroe/pearson") == 2
    said = capsys.readouterr()
    assert "val/scroe/pearson" in said.err
    assert "val/score/pearson" in said.err
    assert "trainable" not in said.out
    assert not list(Path().rglob("*.ckpt"))
