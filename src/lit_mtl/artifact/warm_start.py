"""A new model that begins as a trained one: with its encoder, and its heads where they fit."""

from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import torch

from lit_mtl.artifact.folder import MANIFEST, is_export, read_folder, verify_folder
from lit_mtl.errors import ConfigError
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.pretrained import PACKAGED
from lit_mtl.tasks.base import OtherOutputsError
from lit_mtl.tasks.scores import ScoreTask

_FORM = ("pooling", "embedding_dim", "normalize")
"""What an encoder's projection and heads were trained with."""


class Taken(NamedTuple):
    """Which heads a new model has of a trained one; the encoder it has in any case.

    Each name has what is to be said of it, or nothing.

    Args:
        heads: that were taken over.
        left: of the trained model, that were not.
        new: that begin anew.
    """

    heads: dict[str, str]
    left: dict[str, str]
    new: dict[str, str]

    def __str__(self) -> str:
        """For people."""
        words = ("with its heads", "without its heads", "new heads")
        said = [
            f"{word} {', '.join(f'{name} ({more})' if more else name for name, more in heads.items())}"
            for word, heads in zip(words, self, strict=True)
            if heads
        ]
        return "; ".join(["its encoder is taken over", *said])


def trained_in(folder: str) -> MultiTaskModel:
    """The model of an exported folder, to go on from.

    Raises:
        ConfigError: if it is no such folder.
        StorageError: if it is damaged.
    """
    return read_folder(_export(folder)).network


def verify_start(folder: str) -> None:
    """Look at such a folder before anything else reads from it.

    Raises:
        ConfigError: if it is no such folder.
        StorageError: if it is damaged.
    """
    verify_folder(_export(folder))


def _export(folder: str) -> Path:
    place = Path(folder).expanduser()
    if folder == PACKAGED or not is_export(place):
        lacks = f" ({place / MANIFEST} is missing)" if place.is_dir() else ""
        raise ConfigError(
            f"`model.warm_start` goes on from a folder of `export`, as `model.backbone`; {folder!r} is "
            f"none{lacks}. `export --ckpt_path <checkpoint> --output <folder>` makes one"
        )
    return place


@torch.no_grad()
def take_over(network: MultiTaskModel, trained: MultiTaskModel) -> Taken:
    """Give a model the encoder of a trained one, and its heads of the same names where they fit.

    A head that is taken over has the outputs that it had there, in this model's order of labels and units
    of scores (the spread of `regression_with_spread` about); predictions are clipped to this model's range,
    and another one there is said. Where `Task.adopted_head` finds none, it begins anew. Calibration stays
    behind.

    Args:
        network: begins with them.
        trained: stays as it is.

    Raises:
        ConfigError: if the encoder has another form.
    """
    own, other = asdict(network.architecture), asdict(trained.architecture)
    for name in _FORM:
        if own[name] != other[name]:
            raise ConfigError(
                f"The model to go on from has {name}={other[name]!r}; `model.{name}` asks for "
                f"{own[name]!r}. Set it to {other[name]!r}"
            )
    network.encoder.load_state_dict(trained.encoder.state_dict())
    taken: dict[str, str] = {}
    new: dict[str, str] = {}
    left = sorted(set(trained.tasks) - set(network.tasks))
    for name, task in sorted(network.tasks.items()):
        held = trained.tasks.get(name)
        if held is None:
            likely = get_close_matches(name, left, n=1)
            new[name] = f"none of this name there, perhaps {likely[0]} is meant" if likely else ""
            continue
        before, layer = trained.head_layer(name), network.head_layer(name)
        try:
            weight, bias = task.adopted_head(held, before.weight, before.bias)
        except OtherOutputsError as reason:
            new[name] = str(reason)
            continue
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
        taken[name] = task.other_range(held) if isinstance(task, ScoreTask) else ""
    return Taken(taken, dict.fromkeys(sorted(set(trained.tasks) - set(taken)), ""), new)
