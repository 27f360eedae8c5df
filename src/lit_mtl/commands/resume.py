"""Which checkpoint a fit continues, and which of its settings must then be the same."""

import os
import warnings
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from lit_mtl.callbacks.checkpointing import CALLBACKS
from lit_mtl.checkpoints import STATES, newest_valid
from lit_mtl.errors import ConfigError, MissingInputError, StorageError

_COMPARED = (
    "seed_everything",
    "freezing.eval_mode",
    "projection_init",
    "head_init",
    "protection",
    "averaging",
    "model",
    "data.batch_size",
    "data.batch_tokens",
    "data.max_length",
    "data.mixing",
    "data.mixing_temperature",
    "data.val_fraction",
    "data.test_fraction",
    "trainer.accumulate_grad_batches",
    "trainer.check_val_every_n_epoch",
    "trainer.gradient_clip_algorithm",
    "trainer.gradient_clip_val",
    "trainer.limit_train_batches",
    "trainer.limit_val_batches",
    "trainer.max_epochs",
    "trainer.max_steps",
    "trainer.precision",
    "trainer.val_check_interval",
    "checkpoint.mode",
    "checkpoint.monitor",
)
"""What decides about the weights. Tasks, stages, the data themselves and the processes are compared as well,
where they are known."""


def compared_settings(config: Namespace) -> dict[str, Any]:
    """The settings that a continued run must share with its checkpoint, by dotted name."""
    values: dict[str, Any] = {}
    for key in _COMPARED:
        value = config[key]
        if isinstance(value, Namespace):
            values |= {f"{key}.{name}": _plain(part) for name, part in value.items()}
        else:
            values[key] = _plain(value)
    for callback in _listed(config.trainer.callbacks):
        name = str(callback.class_path).rpartition(".")[2]
        values.setdefault(f"{CALLBACKS}{name}", []).append(_plain(callback.get("init_args") or {}))
    for name, source in (config.data.sources or {}).items():
        values[f"data.sources.{name}.weight"] = source.weight
    return values


def choose_checkpoint(config: Namespace) -> Path | None:
    """Read `ckpt_path`: a file, a word, or None. See the help of the option.

    Where a numbered run is continued, the config's TensorBoardLogger is set to its number.

    Args:
        config: of `fit`.

    Raises:
        MissingInputError: if a checkpoint is asked for and there is none.
        StorageError: if there are checkpoints and all are damaged.
        ConfigError: for `never` in the named folder of another run, and where nobody knows in which
            folder to look.
    """
    _expand_save_dir(config)
    wish = config.ckpt_path
    if wish not in (None, "auto", "require", "never"):
        return Path(wish).expanduser()
    folders, named = _run_folders(config)
    if wish == "never" or (wish is None and not named):
        if named and any(folders[0].glob(STATES)):
            raise ConfigError(
                f"{folders[0]}: holds the checkpoints of a run. Continue it (--ckpt_path auto), or "
                "name another folder"
            )
        return None
    folder = next((folder for folder in folders if any(folder.glob(STATES))), None)
    if folder is not None:
        logger = _first_logger(config)
        if not named and str(getattr(logger, "class_path", "")).endswith("TensorBoardLogger"):
            # another one may delete what it finds, as Lightning's CSVLogger does: it gets a new run
            logger.init_args.version = _number(folder.parent)
        return _newest(folder)
    if wish == "require":
        places = ", ".join(str(folder) for folder in folders) or "the folder of the runs"
        raise MissingInputError(f"{places}: expected a checkpoint to continue, found none")
    return None


def _newest(folder: Path) -> Path:
    """The newest whole checkpoint; damaged ones that are passed over are named."""
    path, complaints = newest_valid(folder)
    if path is None:
        raise StorageError(f"No checkpoint to continue. {'; '.join(complaints)}")
    for complaint in complaints:
        warnings.warn(f"{complaint}. Continuing from {path.name} instead", stacklevel=2)
    return path


def _run_folders(config: Namespace) -> tuple[list[Path], bool]:
    """Folders of checkpoints, newest first, and whether the config names the one to use.

    Raises:
        ConfigError: if one is to be found, and the logger names its runs in its own way.
    """
    if config.checkpoint.dirpath is not None:
        return [Path(config.checkpoint.dirpath).expanduser()], True
    logger, home = _first_logger(config), Path(config.trainer.default_root_dir or ".").expanduser()
    if logger is False:
        return [home / "checkpoints"], True
    options: dict[str, Any]
    if logger is True:
        options = {"save_dir": home, "name": "lightning_logs", "version": None}
    else:
        options = logger.as_dict().get("init_args", {})
    if not {"save_dir", "name", "version"} <= set(options):
        if config.ckpt_path in ("auto", "require"):
            raise ConfigError(
                f"`ckpt_path: {config.ckpt_path}` finds a run by the `save_dir`, `name` and `version` of "
                "the first logger, which has none of them. Name the checkpoint, or the folder of the "
                "run's checkpoints as `checkpoint.dirpath`"
            )
        return [], False
    root = Path(options["save_dir"] or ".") / (options["name"] or "")
    version = options["version"]
    if version is not None:
        name = version if isinstance(version, str) else f"version_{version}"
        return [root / name / "checkpoints"], True
    runs = [run for run in root.glob("version_*") if run.name[8:].isdecimal()]
    return [run / "checkpoints" for run in sorted(runs, key=_number, reverse=True)], False


def _first_logger(config: Namespace) -> Any:
    """The logger in whose folder the run lies; True for Lightning's own, False without one."""
    logger = config.trainer.logger
    if logger is None:
        return True
    return logger if isinstance(logger, bool | Namespace) else next(iter(logger), False)


def _expand_save_dir(config: Namespace) -> None:
    """Let the logger, the search for its runs and their numbering mean one folder by `~` and `$NAME`.

    Lightning's TensorBoardLogger expands them where it writes, and not where it numbers.
    """
    logger = config.trainer.logger
    for each in logger if isinstance(logger, list) else [logger]:
        options = each.get("init_args") if isinstance(each, Namespace) else None
        if options is not None and isinstance(options.get("save_dir"), str):
            options.save_dir = os.path.expanduser(os.path.expandvars(options.save_dir))


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _number(run: Path) -> int:
    return int(run.name.removeprefix("version_"))


def _plain(value: Any) -> Any:
    """Plain values of what jsonargparse parses, the form that a checkpoint carries."""
    if isinstance(value, Namespace):
        return _plain(value.as_dict())
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
