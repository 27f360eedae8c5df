"""What training leaves behind, and how it is used without a Trainer."""

from pathlib import Path

from lit_mtl.artifact.bundle import TrainedModel, load_checkpoint
from lit_mtl.artifact.folder import read_folder

__all__ = ["load"]


def load(path: str | Path) -> TrainedModel:
    """Load what `export` or `fit` has written, to embed and to predict; torch only, no Lightning.

    Args:
        path: an exported folder or a checkpoint.

    Raises:
        MissingInputError: if there is nothing.
        StorageError: if it is damaged.
        ConfigError: if it is something else.
    """
    return read_folder(path) if Path(path).is_dir() else load_checkpoint(path)
