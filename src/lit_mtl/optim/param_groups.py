"""Layer-wise learning rates: which parameter learns how fast.

Depth counts from the heads down: 0 for heads and projection, 1 for the top layer, L for the
lowest of L layers, L + 1 for the embeddings. A backbone parameter of depth d has the learning
rate `lr * layer_decay ** d`, the convention of Zhang et al. (2021, "Revisiting Few-sample BERT
Fine-tuning") and of BEiT. (timm writes the factor to a key that torch schedulers do not read, and
ELECTRA's original code gives the top layer the decay twice; here the group's `lr` is the true one.)
Learned weights of the losses stand above the heads, at depth -1, with a rate of their own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from lit_mtl.errors import ConfigError

LOSS_WEIGHTS = "loss_weights"
"""The part of the log-variances of `UncertaintyWeights`."""

_LOSS_WEIGHTS_LR = 1e-2
"""Their learning rate: Adam then changes a weight by about one percent a step, whatever `lr` is. At the
rate of a head it would not get far from 1 before a training ends."""


@dataclass(frozen=True)
class Place:
    """Where a parameter stands in the network.

    Args:
        part: name of the part: `embeddings`, `layer_3`, `projection`, `heads.score` or
            `loss_weights`.
        depth: distance from the heads.
    """

    part: str
    depth: int


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The learning rates and the weight decay of all parts.

    Args:
        lr: learning rate to which every other one is relative.
        layer_decay: factor from one depth to the next one below, in (0, 1].
        projection_lr_multiplier: learning rate of the projection over `lr`.
        head_lr_multiplier: learning rate of the heads over `lr`.
        weight_decay: AdamW's decoupled weight decay; not for biases and norms.
    """

    lr: float
    layer_decay: float = 1.0
    projection_lr_multiplier: float = 1.0
    head_lr_multiplier: float = 1.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that would train nothing or climb the loss."""
        for name in ("lr", "projection_lr_multiplier", "head_lr_multiplier"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"Expected argument `{name}` to be above 0, but got {getattr(self, name)}"
                )
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(
                f"Expected argument `layer_decay` to be in (0, 1], but got {self.layer_decay}"
            )
        if not self.weight_decay >= 0:
            raise ConfigError(
                f"Expected argument `weight_decay` to be at least 0, but got {self.weight_decay}"
            )

    def of(self, place: Place) -> float:
        """Learning rate of a part of the network, or of the learned weights of the losses."""
        if place.part == LOSS_WEIGHTS:
            return _LOSS_WEIGHTS_LR
        multiplier = {
            "projection": self.projection_lr_multiplier,
            "heads": self.head_lr_multiplier,
        }.get(place.part.split(".")[0], 1.0)
        return self.lr * multiplier * float(self.layer_decay**place.depth)


def build_param_groups(
    model: nn.Module, *, places: Mapping[str, Place], rates: Rates
) -> list[dict[str, Any]]:
    """Sort every parameter of a model into one named group by part and decay or no decay.

    Frozen parameters are included: which of them move is decided later and elsewhere, and an
    optimizer whose groups never change can be resumed. A tied parameter counts once, under the
    name that stands lowest. The groups are ordered from the heads down, by name within a depth.

    Args:
        model: the network.
        places: the place of each parameter, by every name that it has.
        rates: learning rates and weight decay.

    Returns:
        One dictionary a group for a torch optimizer: `name`, `depth`, `params`, `param_names`,
        `lr` and `weight_decay`.

    Raises:
        ConfigError: if a parameter has no place.
    """
    groups: dict[tuple[int, str], dict[str, Any]] = {}
    for name, parameter in _unique_parameters(model, places):
        place = places[name]
        decays = parameter.ndim > 1
        group_name = f"{place.part}/{'decay' if decays else 'no_decay'}"
        group = groups.setdefault(
            (place.depth, group_name),
            {
                "name": group_name,
                "depth": place.depth,
                "params": [],
                "param_names": [],
                "lr": rates.of(place),
                "weight_decay": rates.weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
        group["param_names"].append(name)
    return [groups[key] for key in sorted(groups)]


def group_rows(
    groups: Iterable[Mapping[str, Any]],
) -> list[tuple[str, int, int, int, float, float]]:
    """The table of groups: name, depth, parameters, trainable parameters, lr, weight decay.

    `lr` is the peak: a torch scheduler keeps it as `initial_lr` while it moves the current one.
    """
    return [
        (
            group["name"],
            group["depth"],
            sum(parameter.numel() for parameter in group["params"]),
            sum(parameter.numel() for parameter in group["params"] if parameter.requires_grad),
            group.get("initial_lr", group["lr"]),
            group["weight_decay"],
        )
        for group in groups
    ]


def _unique_parameters(
    model: nn.Module, places: Mapping[str, Place]
) -> list[tuple[str, nn.Parameter]]:
    """Every parameter once, by identity, under its lowest name, in the model's own order."""
    lowest: dict[int, tuple[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name not in places:
            raise ConfigError(
                f"Expected every parameter to have a place in the network, but {name!r} has none"
            )
        known = lowest.get(id(parameter))
        if known is None or places[name].depth > places[known[0]].depth:
            lowest[id(parameter)] = (name, parameter)
    return list(lowest.values())
