"""Weights between those of the pre-trained backbone and those that training has made of it.

On the straight line between both, models often keep more of what the pre-trained one can do with sentences of
other sources, at little cost for those of the training (Wortsman et al. 2022, Robust fine-tuning of
zero-shot models: WiSE-FT).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lit_mtl.errors import ConfigError
from lit_mtl.model.backbone import Backbone
from lit_mtl.pretrained import load_config, weights_sum

_BACKBONE = "encoder.backbone."


def towards_base(
    state: Mapping[str, Tensor], spec: Mapping[str, Any], *, share: float
) -> dict[str, Tensor]:
    """A network's weights with a backbone of `(1 - share) * trained + share * base`.

    Args:
        state: the trained weights of a MultiTaskModel; those outside the backbone stay.
        spec: the checkpoint's entry, which names the base.
        share: of the base, in [0, 1].

    Raises:
        ConfigError: if the backbone began at random, or its base is another one now.
        MissingInputError: if the base's weights are not found.
    """
    name = base_of(spec, wanted_by="base_share")
    base = {
        f"{_BACKBONE}{key}": value
        for key, value in Backbone(load_config(name), name=name).state_dict().items()
    }
    own = {key: value for key, value in state.items() if key.startswith(_BACKBONE)}
    refuse_another_base(own, base, name=name, wanted_by="base_share")
    refuse_overwritten_base(spec, wanted_by="base_share")
    mixed = {key: torch.lerp(value, base[key].to(value.dtype), share) for key, value in own.items()}
    return {**state, **mixed}


def base_of(spec: Mapping[str, Any], *, wanted_by: str) -> str:
    """Hub name or folder of the weights with which a checkpoint's backbone began.

    Args:
        spec: the checkpoint's entry.
        wanted_by: the option that needs it.

    Raises:
        ConfigError: if it began at random, or does not say.
    """
    name, pretrained = spec.get("backbone"), spec.get("pretrained")
    if pretrained and isinstance(name, str):
        return name
    known = (
        "its backbone began with random weights"
        if pretrained is False
        else "it does not say of which weights it began (it is of an earlier version)"
    )
    raise ConfigError(f"`{wanted_by}` needs the base of the checkpoint's backbone, but {known}")


def refuse_another_base(
    own: Mapping[str, Tensor], base: Mapping[str, Tensor], *, name: str, wanted_by: str
) -> None:
    """Refuse a base whose parameters are not those of the trained backbone.

    Raises:
        ConfigError: naming it and the option.
    """
    shapes = [{key: value.shape for key, value in weights.items()} for weights in (base, own)]
    if shapes[0] != shapes[1]:
        raise ConfigError(
            f"`{wanted_by}` needs the base of the checkpoint's backbone; what {name!r} names now has "
            "other parameters"
        )


def refuse_overwritten_base(spec: Mapping[str, Any], *, wanted_by: str) -> None:
    """Refuse a folder whose weights are not those with which a checkpoint's backbone began.

    Args:
        spec: the checkpoint's entry.
        wanted_by: the option that needs the base.

    Raises:
        ConfigError: naming the folder and the option.
    """
    name = base_of(spec, wanted_by=wanted_by)
    began_with = spec.get("backbone_sha256")
    if began_with is not None and weights_sum(name) != began_with:
        raise ConfigError(
            f"`{wanted_by}` needs the base of the checkpoint's backbone; {name!r} has other weights now than "
            "when the run began"
        )


def refuse_wrong_share(share: float) -> None:
    """Refuse what is no share.

    Raises:
        ConfigError: outside of [0, 1].
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"Expected argument `base_share` to be in [0, 1], but got {share}")
