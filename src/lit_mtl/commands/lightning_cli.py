"""The LightningCLI: couples config, datamodule, module and Trainer, and reports at the end."""

import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from jsonargparse import set_parsing_settings
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from lit_mtl.calibration import calibrate
from lit_mtl.callbacks.checkpointing import Checkpointing, DurableCheckpointIO
from lit_mtl.callbacks.console import ConsoleReport
from lit_mtl.callbacks.dashboards import Dashboards
from lit_mtl.callbacks.divergence_guard import DivergenceGuard
from lit_mtl.callbacks.embedding_protection import EmbeddingProtection
from lit_mtl.callbacks.head_init import HeadInit
from lit_mtl.callbacks.known_monitors import KnownMonitors
from lit_mtl.callbacks.pair_similarity import PairSimilarity
from lit_mtl.callbacks.prefix_cache import PrefixCache
from lit_mtl.callbacks.projection_init import ProjectionInit
from lit_mtl.callbacks.staged_freezing import StagedFreezing
from lit_mtl.callbacks.throughput import ThroughputLog
from lit_mtl.callbacks.weight_averaging import AveragedWeights
from lit_mtl.checkpoints import SPEC_KEY, read_checkpoint, read_manifest
from lit_mtl.command_table import PROG
from lit_mtl.commands.nearest import with_nearest
from lit_mtl.commands.precision import default_precision
from lit_mtl.commands.quiet import without_other_kinds
from lit_mtl.commands.results import report
from lit_mtl.commands.resume import choose_checkpoint, compared_settings
from lit_mtl.commands.task_option import TaskOption
from lit_mtl.data.datamodule import DEFAULT_TASKS, SentimentDataModule
from lit_mtl.errors import ConfigError, LitMTLError
from lit_mtl.evaluation import confidence_intervals
from lit_mtl.files import locked
from lit_mtl.module import MultiTaskModule
from lit_mtl.signals import STOP_REQUESTS
from lit_mtl.tasks import AnyTask, task_from_spec
from lit_mtl.verbosity import Verbosity, verbosity

_ENVIRONMENT = "LIT_MTL"

_IMPORTS = "LIT_MTL_ALLOW_IMPORTS"
"""Environment variable with the user's own packages that a config may name, by comma."""

_ALLOWED = ("lit_mtl", "lightning", "pytorch_lightning")
"""Packages whose classes a config may name: a config from elsewhere must not import anything else."""

_CKPT_PATH_HELP = (
    "A checkpoint file. For fit one to continue, or a word: `auto` continues the newest run from its "
    "newest whole checkpoint, or begins one; `require` fails if there is none; `never` begins a new "
    "run. Without it, fit continues only in a folder that the config names and that holds a run."
)

_LOGGER = {
    "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
    "init_args": {"save_dir": "lightning_logs", "name": "runs", "default_hp_metric": False},
}


class RunConfig(SaveConfigCallback):
    """Keeps the config in the folder of the run; a run without a logger has none."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save the config, once, from the first process; a continued run keeps the one it has."""
        checkpointing = _checkpointing(trainer)
        if trainer.logger is not None and not checkpointing.has_states(trainer):
            super().setup(trainer, pl_module, stage)


class _Parser(LightningArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong with a task by the kind that it has, and which option was perhaps meant."""
        super().error(with_nearest(without_other_kinds(message)), ex)


class LitMTLCLI(LightningCLI):
    """Couples config, datamodule, module and Trainer, and reports at the end."""

    model: MultiTaskModule
    datamodule: SentimentDataModule
    trainer: Trainer
    checkpoint: Path | None = None
    """The checkpoint to continue or to measure."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The Trainer's method that was asked for, and those of its arguments that are not options.

        Checkpoints are always read with `weights_only`; results are reported by this project.
        """
        hidden = {"model", "datamodule", "dataloaders", "verbose", "weights_only", "ckpt_path"}
        found = {
            "fit": hidden | {"train_dataloaders", "val_dataloaders"},
            "validate": hidden,
            "test": hidden,
        }
        # a parser takes a quarter of a second; other commands than these build one without a name
        return {name: hidden for name, hidden in found.items() if name in sys.argv[1:2]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Declare the tasks once, for the data; and the callbacks that every run has."""
        option = parser.add_argument(
            "--tasks",
            type=dict[str, AnyTask],
            default={name: task.spec() for name, task in DEFAULT_TASKS.items()},
            help="The tasks by name; those without data are left out.",
        )
        option.__class__ = TaskOption  # jsonargparse chooses the action of a type by itself
        parser.add_argument("--ckpt_path", type=str | None, default=None, help=_CKPT_PATH_HELP)
        parser.link_arguments("tasks", "data.tasks")
        # hides the option; the seed itself is set when Lightning has drawn one if asked to
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.add_lightning_class_args(StagedFreezing, "freezing")
        parser.add_lightning_class_args(PrefixCache, "prefix_cache")  # behind what it follows
        # in this order: heads are fitted on the projection, and what it gives is then protected
        parser.add_lightning_class_args(ProjectionInit, "projection_init")
        parser.add_lightning_class_args(HeadInit, "head_init")
        parser.add_lightning_class_args(EmbeddingProtection, "protection")
        parser.add_lightning_class_args(PairSimilarity, "pairs")
        # behind all that runs the network in a validation
        parser.add_lightning_class_args(AveragedWeights, "averaging")
        parser.add_lightning_class_args(Checkpointing, "checkpoint")
        parser.add_lightning_class_args(Dashboards, "dashboards")
        parser.set_defaults(
            {
                "trainer.logger": _LOGGER,
                "trainer.max_epochs": 3,
                "trainer.enable_model_summary": False,
                "trainer.enable_progress_bar": False,
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
        if self.subcommand:
            _choose_precision(config)
        if self.subcommand == "fit":
            self.checkpoint = choose_checkpoint(config)
        elif config.ckpt_path is not None:
            self.checkpoint = Path(config.ckpt_path).expanduser()

    def instantiate_classes(self) -> None:
        """Build everything; from a checkpoint, network and tokenizer come with it."""
        super().instantiate_classes()
        if self.subcommand and self.checkpoint is not None:
            spec = read_checkpoint(self.checkpoint)[SPEC_KEY]
            if self.subcommand != "fit":
                self._refuse_another_model(self.subcommand, spec)
            self.model.restore(spec)

    def _refuse_another_model(self, subcommand: str, spec: Mapping[str, Any]) -> None:
        """What is asked for must be what the checkpoint holds; what is not asked for comes from it.

        Raises:
            ConfigError: naming the option with both values.
        """
        options = self.config[subcommand].model
        described = {"backbone": spec.get("backbone"), **spec.get("architecture", {})}
        held = {name: value for name, value in described.items() if name in options}
        # what differs where these are the defaults was asked for, in whatever way
        self._parser(subcommand).set_defaults(
            {f"model.{name}": value for name, value in held.items()}
        )
        asked = self.parser.parse_args(sys.argv[1:])[subcommand].model
        for name, value in held.items():
            if asked[name] != value:
                raise ConfigError(
                    f"{self.checkpoint}: holds a model with {name}={value!r}; "
                    f"`model.{name}` asks for {asked[name]!r}. Set it to {value!r}"
                )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the callbacks that every run has."""
        callbacks: list[Any] = [DivergenceGuard(), KnownMonitors()]
        if (said := verbosity()) is not Verbosity.QUIET:
            # ahead, so that the line of progress is gone before another callback prints
            bars = self._get(self.config, "trainer.enable_progress_bar")
            live = sys.stderr.isatty() and not bars
            callbacks.insert(0, ConsoleReport(live=live, detail=said is Verbosity.VERBOSE))
        if self._get(self.config, "trainer.logger"):
            callbacks += [LearningRateMonitor("step"), ThroughputLog()]
        if self._get(self.config, "trainer.enable_checkpointing") is False:
            raise ConfigError(
                "`trainer.enable_checkpointing` cannot be false: fit keeps its result"
            )
        self.trainer_defaults = {"callbacks": callbacks}
        for name in ("accumulate_grad_batches", "val_check_interval"):
            if self._get(self.config, f"trainer.{name}") == 0:
                raise ConfigError(f"Expected argument `trainer.{name}` to be above 0, but got 0")
        plugins = self._get(self.config_init, "trainer.plugins") or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        plugins = [*plugins, DurableCheckpointIO()]
        try:
            trainer = super().instantiate_trainer(**kwargs, plugins=plugins)
        except LitMTLError:
            raise
        except (ValueError, TypeError) as error:  # what Lightning says of its own arguments
            raise ConfigError(str(error)) from error
        _refuse_forks(trainer)
        return trainer

    def _run_subcommand(self, subcommand: str) -> None:
        """Run it, and name the rows with which a worker has died or does not answer."""
        try:
            super()._run_subcommand(subcommand)
        except LitMTLError:
            raise
        except (ValueError, RuntimeError) as error:
            if _says_lightning(error):
                raise ConfigError(str(error)) from error
            if "DataLoader" not in str(error) or STOP_REQUESTS.noted:
                raise
            rows = self.datamodule.rows_in_hand() or "no rows"
            raise LitMTLError(
                f"{rows}: a worker that makes batches has failed with these in hand "
                f"({str(error).splitlines()[0]}). `data.num_workers: 0` makes batches in this process "
                "and shows why"
            ) from error

    def fit(self, **kwargs: Any) -> None:
        """Train; then measure the best checkpoint on validation and test."""
        checkpointing = _checkpointing(self.trainer)
        config = self.config[self.subcommand]
        checkpointing.settings = compared_settings(config)
        defaults = self._parser(self.subcommand).get_defaults()
        checkpointing.default_settings = compared_settings(defaults)
        if config.trainer.fast_dev_run:
            self.trainer.fit(**kwargs)
            return
        folder = checkpointing.folder_of(self.trainer)
        if not folder.parent.exists():
            # what CSVLogger will find in the folder of the run is the lock, and nothing to lose
            warnings.filterwarnings("ignore", message="Experiment logs directory")
        with ExitStack() as held:
            if getattr(rank_zero_only, "rank", 0) == 0:
                held.enter_context(locked(folder))
            self.trainer.fit(**kwargs, ckpt_path=self.checkpoint, weights_only=True)
            self._measure(checkpointing)

    def _measure(self, checkpointing: Checkpointing) -> None:
        """Measure the best checkpoint, or the end if training ended before the first validation."""
        path = checkpointing.best_path or checkpointing.last_path
        if path == Path():
            raise ConfigError(
                "There was nothing to train on: `trainer.max_epochs`, `trainer.max_steps` and "
                "`trainer.limit_train_batches` have to leave a batch"
            )
        self.model.is_measured_apart = True
        measures = [self.trainer.validate]
        if self.datamodule.has_test:
            measures.append(self.trainer.test)
        for measure in measures:
            measure(
                self.model,
                datamodule=self.datamodule,
                ckpt_path=path,
                verbose=False,
                weights_only=True,
            )
        self._report(path, seconds=checkpointing.seconds)

    def _sources_of_test_rows(self) -> dict[str, list[str]] | None:
        """Task name to the source of each labelled row of the test split, as it was measured."""
        corpus = self.datamodule.corpus
        if corpus is None or "test" not in self.model.row_ids:
            return None
        names = np.array(corpus.sources)[corpus.source_of("test")]
        return {name: names[rows].tolist() for name, rows in self.model.row_ids["test"].items()}

    def validate(self, **kwargs: Any) -> None:
        """Measure the validation split."""
        path = self._required_checkpoint()
        self.model.is_measured_apart = True
        self.trainer.validate(**kwargs, ckpt_path=path, verbose=False, weights_only=True)
        self._report(path)

    def test(self, **kwargs: Any) -> None:
        """Measure the test split."""
        path = self._required_checkpoint()
        self.trainer.test(**kwargs, ckpt_path=path, verbose=False, weights_only=True)
        self._report(path)

    def _boards(self) -> Iterator[str]:
        """The folders of TensorBoard's files."""
        loggers = self.trainer.loggers
        return (logger.log_dir for logger in loggers if isinstance(logger, TensorBoardLogger))

    def _required_checkpoint(self) -> Path:
        if self.checkpoint is None:
            raise ConfigError("A trained model is needed: name its checkpoint with --ckpt_path")
        return self.checkpoint

    def _report(self, checkpoint: Path, *, seconds: float | None = None) -> None:
        folder = self.trainer.log_dir  # a collective call, so on every process
        if self.trainer.is_global_zero:
            self._write_report(checkpoint, folder, seconds)

    def _write_report(self, checkpoint: Path, folder: str | None, seconds: float | None) -> None:
        """Show and keep the results; at the end of a fit, which has `seconds`, calibrate too.

        A fit without validation batches has nothing to calibrate on.
        """
        outputs, tasks = self.model.outputs, self.model.tasks
        calibration = intervals = None
        if seconds is not None and "val" in outputs:
            digest = read_manifest(checkpoint.resolve())["sha256"]
            calibration = calibrate(
                tasks,
                outputs["val"],
                outputs.get("test"),
                checkpoint=digest,
                test_sources=self._sources_of_test_rows(),
            )
            intervals = {
                split: {
                    name: confidence_intervals(tasks[name], *rows) for name, rows in found.items()
                }
                for split, found in outputs.items()
            }
        run = Path(folder) if folder and self.trainer.logger else None
        own = checkpoint.resolve().parent
        elsewhere = seconds is not None and (run is None or own.parent != run.resolve())
        report(
            self.model.results,
            tasks=tasks,
            folder=run,
            checkpoint=str(checkpoint),
            seconds=seconds,
            calibration=calibration,
            intervals=intervals,
            embedding=self.model.embedding_health,
            curves=next(map(Path, self._boards()), None),
            beside=own if elsewhere else None,
        )


def _refuse_forks(trainer: Trainer) -> None:
    """What was trained there would end with them.

    Raises:
        ConfigError: if the strategy's processes are started from this one.
    """
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise ConfigError(
            "Expected a `trainer.strategy` whose processes run this command anew, such as ddp; this one "
            "starts them from here"
        )


def _checkpointing(trainer: Trainer) -> Checkpointing:
    """The project's own callback; the user may have others of that kind."""
    return next(each for each in trainer.checkpoint_callbacks if isinstance(each, Checkpointing))


def _says_lightning(error: Exception) -> bool:
    """Whether Lightning itself refuses a setting that it has only looked at in the training.

    Such are a `val_check_interval` of more batches than there are, or a metric that is not there.
    """
    frames = traceback.extract_tb(error.__traceback__)
    raised = frames[-1] if frames else None
    return raised is not None and (
        (isinstance(error, ValueError) and raised.name == "setup_data")
        or str(error).startswith("Early stopping conditioned on metric")
    )


def restrict_imports() -> None:
    """Let configs and flags name classes of the allowed packages only."""
    allowed = os.environ.get(_IMPORTS, "")
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=[*_ALLOWED, *(name for name in allowed.split(",") if name)],
    )


def lightning_cli(name: str, args: Sequence[str], *, run: bool) -> LitMTLCLI:
    """Build everything that a config describes.

    Args:
        name: the command.
        args: what stands behind it.
        run: whether it is one of the Trainer's, which then runs.
    """
    restrict_imports()
    model: type[LightningModule] = MultiTaskModule
    data: type[LightningDataModule] = SentimentDataModule
    sys.argv[1:] = args  # read from there, since DDP starts its other processes with it
    usage = f"{PROG} {name} [options]"  # upon a mistake; the names of all options fill a screen
    return LitMTLCLI(
        model,
        data,
        run=run,
        seed_everything_default=0,
        save_config_callback=RunConfig,
        # what may stand there is the config of a start that came to nothing
        save_config_kwargs={"overwrite": True},
        parser_class=_Parser,
        parser_kwargs={
            "prog": PROG if run else f"{PROG} {name}",
            **({"usage": PROG, name: {"usage": usage}} if run else {"usage": usage}),
            "allow_abbrev": False,  # another option may begin so in a later version
            "default_env": True,
            "env_prefix": _ENVIRONMENT,
        },
        load_from_checkpoint_support=False,
        auto_configure_optimizers=False,
    )


def _choose_precision(config: Any) -> None:
    """Put the precision of this machine where none is asked for, so that the run's config has it."""
    trainer = config.trainer
    if trainer.precision is not None or trainer.plugins:
        return  # a plugin may be a precision
    trainer.precision, reason = default_precision(str(trainer.accelerator))
    rank_zero_info(f"Precision {trainer.precision}: {reason}")


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
