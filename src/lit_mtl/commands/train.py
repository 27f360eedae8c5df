"""`fit`, `validate`, `test`, `predict`, `groups` and `plan`, through one LightningCLI."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from lit_mtl.callbacks.console import ConsoleReport, data_table, group_table
from lit_mtl.callbacks.prediction_writer import PredictionWriter
from lit_mtl.callbacks.staged_freezing import StagedFreezing
from lit_mtl.commands.plan import gradual_plan, rate_table, stage_table
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.commands.results import report
from lit_mtl.data.datamodule import DEFAULT_TASKS, SentimentDataModule
from lit_mtl.errors import ConfigError, MissingInputError
from lit_mtl.module import SELECTION_KEY, MultiTaskModule
from lit_mtl.optim.freezing_plan import Stage
from lit_mtl.pretrained import read_spec
from lit_mtl.tasks import AnyTask, task_from_spec

_ENVIRONMENT = "LIT_MTL"

_LOGGER = {
    "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
    "init_args": {"save_dir": "lightning_logs", "name": "runs", "default_hp_metric": False},
}


class RunConfig(SaveConfigCallback):
    """Keeps the config in the folder of the run; a run without a logger has none."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save the config, once, from the first process."""
        if trainer.logger is not None:
            super().setup(trainer, pl_module, stage)


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
        # hides the option; the seed itself is set when Lightning has drawn one if asked to
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.add_lightning_class_args(StagedFreezing, "freezing")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(PredictionWriter, "predictions")
        parser.set_defaults(
            {
                "checkpoint.monitor": SELECTION_KEY,
                "checkpoint.mode": "max",
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

    def before_instantiate_classes(self) -> None:
        """Refuse what parsing lets pass, and give the data the seed that is used."""
        config = self.config[self.subcommand] if self.subcommand else self.config
        for task in config.tasks.values():
            # built once for its own message: jsonargparse would bury it in those of other kinds
            task_from_spec(dict(task.get("init_args", task)))
        if self.subcommand:
            _refuse_unknown_environment(f"{_ENVIRONMENT}_{self.subcommand.upper()}__", config)
        config.data.seed = int(config.seed_everything)

    def instantiate_classes(self) -> None:
        """Build everything; with `--ckpt_path`, network and tokenizer come from the checkpoint."""
        super().instantiate_classes()
        path = self._get(self.config, "ckpt_path") if self.subcommand else None
        if path is None:
            return
        if not Path(path).is_file():
            raise MissingInputError(f"{path}: expected a checkpoint file for --ckpt_path")
        self.model.restore(read_spec(path))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the callbacks that every run has."""
        callbacks: list[Any] = [
            ConsoleReport(),
            ModelCheckpoint(
                filename="last", save_on_train_epoch_end=True, enable_version_counter=False
            ),
        ]
        if self._get(self.config, "trainer.logger"):
            callbacks.append(LearningRateMonitor("step"))
        if self._get(self.config, "trainer.enable_checkpointing") is False:
            raise ConfigError(
                "`trainer.enable_checkpointing` cannot be false: fit keeps its result"
            )
        self.trainer_defaults = {"callbacks": callbacks}
        return super().instantiate_trainer(**kwargs)

    def fit(self, **kwargs: Any) -> None:
        """Train; then measure the best checkpoint on validation and test."""
        start = time.perf_counter()
        self.trainer.fit(**kwargs, weights_only=True)
        seconds = time.perf_counter() - start
        if self.trainer.interrupted or self._get(self.config, "trainer.fast_dev_run"):
            return
        best = self._best_checkpoint()
        measures = [self.trainer.validate]
        if self.datamodule.test_fraction:
            measures.append(self.trainer.test)
        for measure in measures:
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
        self._require_checkpoint(kwargs)
        self.trainer.validate(**kwargs, verbose=False, weights_only=True)
        self._report(kwargs["ckpt_path"])

    def test(self, **kwargs: Any) -> None:
        """Measure the test split."""
        self._require_checkpoint(kwargs)
        self.trainer.test(**kwargs, verbose=False, weights_only=True)
        self._report(kwargs["ckpt_path"])

    def predict(self, **kwargs: Any) -> None:
        """Write predictions through the callback, without keeping them in memory twice."""
        self._require_checkpoint(kwargs)
        self.trainer.predict(**kwargs, return_predictions=False, weights_only=True)

    def _require_checkpoint(self, kwargs: dict[str, Any]) -> None:
        if kwargs["ckpt_path"] is None:
            raise ConfigError("A trained model is needed: name its checkpoint with --ckpt_path")

    def _best_checkpoint(self) -> str:
        """The best checkpoint; the last one where training ended before the first validation."""
        kept = [c for c in self.trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
        return next(path for callback in kept if (path := callback.best_model_path))

    def _report(self, checkpoint: str, *, seconds: float | None = None) -> None:
        folder = self.trainer.log_dir  # a collective call, so on every process
        if self.trainer.is_global_zero:
            report(
                self.model.results,
                tasks=self.model.tasks,
                folder=Path(folder) if folder and self.trainer.logger else None,
                checkpoint=checkpoint,
                seconds=seconds,
            )


class DescribingCLI(LitMTLCLI):
    """The same options for the commands that only describe; a run's own config is understood."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Take the key that a run's config has beside these, without a use for it."""
        super().add_arguments_to_parser(parser)
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="not used")


def run(name: str, args: Sequence[str]) -> None:
    """Run one of the Trainer's commands, `groups` or `plan`.

    Args:
        name: the command.
        args: what stands behind it.
    """
    silence_upstream_notes()
    try:
        if name == "groups":
            cli = _described(args)
            print(f"{data_table(cli.datamodule)}\n\n{group_table(cli.model.param_groups())}")
        elif name == "plan":
            _plan(args)
        else:
            _lightning(LitMTLCLI, [name, *args], run=True)
    except MisconfigurationException as error:
        raise ConfigError(str(error)) from error


def _plan(args: Sequence[str]) -> None:
    """Show the stages of a config, or write a plan to begin with."""
    generate = list(args[:2]) == ["--generate", "gradual"]
    cli = _described(args[2:] if generate else args)
    if generate:
        print(gradual_plan(cli.model.network, epochs=cli.trainer.max_epochs or 1))
        return
    stages = cli.config_init["freezing"].stages or [Stage(name="all")]
    print(stage_table(stages, cli.model.network), end="\n\n")
    print(rate_table(stages, cli.model.network, cli.model.rates))


def _described(args: Sequence[str]) -> LitMTLCLI:
    """Everything that a fit would have before its first step."""
    cli = _lightning(DescribingCLI, args, run=False)
    cli.datamodule.prepare_data()
    cli.datamodule.tokenizer = cli.model.tokenizer  # no Trainer brings them together
    cli.datamodule.setup("fit")
    cli.model.build(cli.datamodule.tasks)
    return cli


def _lightning(kind: type[LitMTLCLI], args: Sequence[str], *, run: bool) -> LitMTLCLI:
    model: type[LightningModule] = MultiTaskModule
    data: type[LightningDataModule] = SentimentDataModule
    sys.argv[1:] = args  # read from there, since DDP starts its other processes with it
    return kind(
        model,
        data,
        run=run,
        seed_everything_default=0,
        save_config_callback=RunConfig,
        parser_kwargs={
            "prog": "python -m lit_mtl",
            "default_env": True,
            "env_prefix": _ENVIRONMENT,
        },
        load_from_checkpoint_support=False,
        auto_configure_optimizers=False,
    )


def _refuse_unknown_environment(prefix: str, config: Any) -> None:
    """A misspelt variable must not be ignored, as a misspelt option is not."""
    for name in sorted(os.environ):
        if not name.startswith(prefix):
            continue
        key = name.removeprefix(prefix).lower().replace("__", ".")
        if key not in config and not key.startswith(("tasks.", "config")):
            raise ConfigError(
                f"The environment variable {name} names no option: there is no {key!r}"
            )
