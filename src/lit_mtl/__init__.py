"""One shared sentence encoder with several heads, trained from a few files of sentences.

Importing this package costs nothing: the names below are loaded when they are first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Classification": "lit_mtl.tasks",
    "Multilabel": "lit_mtl.tasks",
    "Ordinal": "lit_mtl.tasks",
    "RatingDistribution": "lit_mtl.tasks",
    "Regression": "lit_mtl.tasks",
    "RegressionWithSpread": "lit_mtl.tasks",
    "MultiTaskModel": "lit_mtl.model.multitask",
    "MultiTaskModule": "lit_mtl.module",
    "SentimentDataModule": "lit_mtl.data.datamodule",
    "TrainedModel": "lit_mtl.artifact.bundle",
    "align_to_base": "lit_mtl.artifact.base_alignment",
    "load": "lit_mtl.artifact",
    "load_checkpoint": "lit_mtl.artifact.bundle",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `--help` does not wait for torch."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
