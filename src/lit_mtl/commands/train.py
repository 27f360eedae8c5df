"""`fit`, `validate`, `test`, `predict` and `groups`, through one LightningCLI."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from lit_mtl.callbacks.console import ConsoleReport, data_table, group_table
from lit_mtl.callbacks.prediction_writer import PredictionWriter
from lit_mtl.callbacks.staged_freezing import StagedFreezing
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.commands.results import report
from lit_mtl.data.datamodule import DEFAULT_TASKS, SentimentDataModule
from lit_mtl.errors import ConfigError, MissingInputError
from lit_mtl.module import SELECTION_KEY, MultiTaskModule
from lit_mtl.pretrained import read_spec
from lit_mtl.tasks import AnyTask

_LOGGER = {
    "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
    "init_args": {"save_dir": "lightning_logs", "name": "runs", "default_hp_metric": False},
}


class LitMTLCLI(LightningCLI):
    """Couples config, datamodule, module and Trainer, and reports at the end."""

    model: MultiTaskModule
    datamodule: SentimentDataModule
    trainer: Trainer

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The Trainer's methods and those of their arguments that are not options here.

        Checkpoints are always read with `weights_only`; results are reported by this project.
        """
        hidden = {"model", "datamodule", "dataloaders", "verbose", "weights_only"}
        return {
            "fit": hidden | {"train_dataloaders", "val_dataloaders"},
            "validate": hidden,
            "test": hidden,
            "predict": hidden | {"return_predictions"},
        }

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Declare the tasks once, for the data; and the callbacks that every run has."""
        parser.add_argument(
            "--tasks",
            type=dict[str, AnyTask],
            default={name: task.spec() for name, task in DEFAULT_TASKS.items()},
            help="The tasks by name; those without data are left out.",
        )
        parser.link_arguments("tasks", "data.tasks")
        parser.link_arguments("seed_everything", "data.seed")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(PredictionWriter, "predictions")
        parser.add_lightning_class_args(StagedFreezing, "freezing")
        parser.set_defaults(
            {
                "checkpoint.monitor": SELECTION_KEY,
                "checkpoint.mode": "max",
                "checkpoint.save_last": True,
                "checkpoint.filename": "best",
                "checkpoint.enable_version_counter": False,
                "trainer.logger": _LOGGER,
                "trainer.max_epochs": 3,
                "trainer.enable_model_summary": False,
            }
        )

    def _parse_ckpt_path(self) -> None:
        """Leave the config as it was given.

        The original merges a checkpoint's hyper-parameters into it, which lets a checkpoint name
        classes to import and lets it win over the command line.
        """

    def instantiate_classes(self) -> None:
        """Build everything; with `--ckpt_path`, network and tokenizer come from the checkpoint."""
        super().instantiate_classes()
        path = self._checkpoint_path()
        if path is not None:
            self.model.restore(read_spec(path))

    def fit(self, **kwargs: Any) -> None:
        """Train; then measure the best checkpoint on validation and test."""
        start = time.perf_counter()
        self.trainer.fit(**kwargs, weights_only=True)
        seconds = time.perf_counter() - start
        if self.trainer.interrupted or self._get(self.config, "trainer.fast_dev_run"):
            return
        best = self._best_checkpoint()
        for measure in (self.trainer.validate, self.trainer.test):
            measure(
                self.model,
                datamodule=self.datamodule,
                ckpt_path=best,
                verbose=False,
                weights_only=True,
            )
        self._report(best, seconds=seconds)

    def validate(self, **kwargs: Any) -> None:
        """Measure the validation split."""
        self.trainer.validate(**kwargs, verbose=False, weights_only=True)
        self._report(kwargs["ckpt_path"])

    def test(self, **kwargs: Any) -> None:
        """Measure the test split."""
        self.trainer.test(**kwargs, verbose=False, weights_only=True)
        self._report(kwargs["ckpt_path"])

    def predict(self, **kwargs: Any) -> None:
        """Write predictions through the callback, without keeping them in memory twice."""
        if kwargs["ckpt_path"] is None:
            raise ConfigError("predict needs a trained model: name one with --ckpt_path")
        self.trainer.predict(**kwargs, return_predictions=False, weights_only=True)

    def _checkpoint_path(self) -> Path | None:
        name = self.config[self.subcommand].get("ckpt_path") if self.subcommand else None
        if name is None:
            return None
        if not Path(name).is_file():
            raise MissingInputError(f"{name}: expected a checkpoint file for --ckpt_path")
        return Path(name)

    def _best_checkpoint(self) -> str | None:
        """The best checkpoint; the last state where training ended before the first validation."""
        callback = self.trainer.checkpoint_callback
        if not isinstance(callback, ModelCheckpoint) or callback.dirpath is None:
            return None
        if callback.best_model_path:
            return callback.best_model_path
        path = Path(callback.dirpath) / f"{callback.CHECKPOINT_NAME_LAST}.ckpt"
        self.trainer.save_checkpoint(path)
        return str(path)

    def _report(self, checkpoint: str | None, *, seconds: float | None = None) -> None:
        folder = Path(self.trainer.log_dir or ".")  # a collective call, so on every process
        if self.trainer.is_global_zero:
            report(
                self.model.results,
                tasks=self.model.tasks,
                folder=folder,
                checkpoint=checkpoint,
                seconds=seconds,
            )


def run(name: str, args: Sequence[str]) -> None:
    """Run one of the Trainer's commands, or `groups`.

    Args:
        name: the command.
        args: what stands behind it.
    """
    silence_upstream_notes()
    if name == "groups":
        cli = _lightning(args, run=False)
        cli.datamodule.prepare_data()
        cli.datamodule.tokenizer_name = cli.model.backbone_name  # no Trainer brings them together
        cli.datamodule.setup("fit")
        cli.model.build(cli.datamodule.tasks)
        print(f"{data_table(cli.datamodule)}\n\n{group_table(cli.model.param_groups())}")
        return
    _lightning([name, *args], run=True)


def _lightning(args: Sequence[str], *, run: bool) -> LitMTLCLI:
    model: type[LightningModule] = MultiTaskModule
    data: type[LightningDataModule] = SentimentDataModule
    sys.argv[1:] = args  # DDP starts its processes with it, so both must say the same
    return LitMTLCLI(
        model,
        data,
        run=run,
        seed_everything_default=0,
        trainer_defaults={"callbacks": [ConsoleReport(), LearningRateMonitor("step")]},
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"prog": "python -m lit_mtl", "default_env": True, "env_prefix": "LIT_MTL"},
        load_from_checkpoint_support=False,
        auto_configure_optimizers=False,
    )
