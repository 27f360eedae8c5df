"""The pre-trained transformer, with knowledge of its layers.

Shapes: B sentences, T tokens, H hidden dimension. L is the number of layers.
"""

import re
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from lit_mtl.errors import ConfigError
from lit_mtl.model.cpu_step import cheap_step
from lit_mtl.model.views import Given, view
from lit_mtl.optim.param_groups import Place
from lit_mtl.pretrained import load_backbone, new_backbone, position_offset

_MAX_VARIANTS = 64
"""Compiled variants of a layer: by frozen or not, training or not, gradient or not, types, size 1."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a family of models keeps its parts, as prefixes of parameter names.

    Args:
        layers: prefix of the list of layers.
        embeddings: everything below the first layer. What all layers share counts as below:
            relative position embeddings are used by the lowest layer first. It stands beside the
            layers, in `encoder`; what makes the first layer's input stands in the model itself.
        first_layer: parts beside the list that work on the first layer's output.
        top: parts above the last layer.
        has_pooler: whether the model would add a pooler, which nothing here uses.
    """

    layers: str = "encoder.layer"
    embeddings: tuple[str, ...] = ("embeddings",)
    first_layer: tuple[str, ...] = ()
    top: tuple[str, ...] = ()
    has_pooler: bool = False


LAYOUTS: dict[str, Layout] = {
    "bert": Layout(has_pooler=True),
    "roberta": Layout(has_pooler=True),
    "xlm-roberta": Layout(has_pooler=True),
    "camembert": Layout(has_pooler=True),
    "distilbert": Layout(layers="transformer.layer"),
    "mpnet": Layout(embeddings=("embeddings", "encoder.relative_attention_bias"), has_pooler=True),
    "electra": Layout(embeddings=("embeddings", "embeddings_project")),
    "deberta-v2": Layout(
        embeddings=("embeddings", "encoder.rel_embeddings", "encoder.LayerNorm"),
        first_layer=("encoder.conv",),
    ),
    "modernbert": Layout(layers="layers", top=("final_norm",)),
}
"""The supported families by `model_type`. (ALBERT repeats one layer, so it has no depths.)"""


class Backbone(nn.Module):
    """A transformer of a known family.

    Args:
        config: configuration of the transformer.
        name: hub name or folder of its pre-trained weights. None: random weights.

    Raises:
        ConfigError: if the family's structure is not known.
    """

    def __init__(self, config: PreTrainedConfig, *, name: str | None = None) -> None:
        super().__init__()
        if config.model_type not in LAYOUTS:
            raise ConfigError(
                f"Expected a backbone of the families {', '.join(sorted(LAYOUTS))}, "
                f"but got {config.model_type!r}, whose layers are not known here"
            )
        self._layout = LAYOUTS[config.model_type]
        kwargs = {"add_pooling_layer": False} if self._layout.has_pooler else {}
        self.transformer: PreTrainedModel = (
            new_backbone(config, **kwargs)
            if name is None
            else load_backbone(name, config, **kwargs)
        )
        # from_pretrained leaves eval mode on, from_config training mode
        self.transformer.train()
        self._first_position = position_offset(config)
        self._compiled = False

    @property
    def config(self) -> PreTrainedConfig:
        """Configuration of the transformer."""
        return self.transformer.config

    @property
    def hidden_size(self) -> int:
        """Dimension of a token vector, H."""
        return int(self.config.hidden_size)

    @property
    def has_pooler(self) -> bool:
        """Whether transformers would add a pooler, which is left out here."""
        return self._layout.has_pooler

    @property
    def num_layers(self) -> int:
        """Number of layers, L."""
        return int(self.config.num_hidden_layers)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token vectors (B, T, H) of ids (B, T) under a mask (B, T).

        Positions are counted over the real tokens, so that the side of the padding does not
        matter; transformers counts over all of them for most families.
        """
        return self._run(self.transformer, attention_mask, input_ids=input_ids)

    def prefix(self, input_ids: Tensor, attention_mask: Tensor, *, layers: int) -> Tensor:
        """Hidden states (B, T, H) above the embeddings and the lowest layers, which alone run.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T).
            layers: how many of the lowest layers, from 1 to L.
        """
        assert 1 <= layers <= self.num_layers
        top = {} if layers == self.num_layers else dict.fromkeys(self._layout.top, nn.Identity())
        lowest = view(self.transformer, {self._layout.layers: self._layers[:layers], **top})
        return self._run(lowest, attention_mask, input_ids=input_ids)

    def from_prefix(self, states: Tensor, attention_mask: Tensor, *, layers: int) -> Tensor:
        """Token vectors (B, T, H) from hidden states; embeddings and lowest layers do not run.

        Args:
            states: what `prefix` gave, (B, T, H); of any finite value where the mask is 0.
            attention_mask: (B, T).
            layers: how many of the lowest layers have run, from 1 to L - 1.
        """
        assert 1 <= layers < self.num_layers
        below = {name: Given(states) for name in self._layout.embeddings if "." not in name}
        parts = {**below, **dict.fromkeys(self._layout.first_layer)}
        highest = view(self.transformer, {self._layout.layers: self._layers[layers:], **parts})
        return self._run(highest, attention_mask, inputs_embeds=states)

    @property
    def _layers(self) -> nn.ModuleList:
        layers = self.transformer.get_submodule(self._layout.layers)
        assert isinstance(layers, nn.ModuleList)
        return layers

    def _run(self, transformer: PreTrainedModel, attention_mask: Tensor, **given: Tensor) -> Tensor:
        position = (attention_mask.cumsum(dim=1) - 1).clamp(min=0) + self._first_position
        with nullcontext() if self._compiled else cheap_step(transformer):
            states: Tensor = transformer(
                attention_mask=attention_mask, position_ids=position.to(torch.int64), **given
            ).last_hidden_state
        return states

    def compile_layers(self) -> None:
        """Compile each layer by itself, in place: names, hooks and checkpoints stay as they are.

        Layers in the same state share one compiled variant, whatever the batch's size and length,
        so a stage of a freezing plan costs a few compilations and not one for each combination of
        frozen layers. What cannot be compiled is an error of torch at the first batch; its silent
        return to eager mode, by default after 8 variants, is switched off.
        """
        self._compiled = True
        for layer in self._layers:
            layer.compile(dynamic=True, fullgraph=True, recompile_limit=_MAX_VARIANTS)

    def place(self, name: str) -> Place:
        """Part and depth of one of the transformer's own parameters.

        Raises:
            ConfigError: if the layout does not mention it.
        """
        layer = re.match(re.escape(self._layout.layers) + r"\.(\d+)\.", name)
        if layer:
            return self._layer(int(layer.group(1)))
        if name.startswith(tuple(f"{prefix}." for prefix in self._layout.embeddings)):
            return Place("embeddings", self.num_layers + 1)
        if name.startswith(tuple(f"{prefix}." for prefix in self._layout.first_layer)):
            return self._layer(0)
        if name.startswith(tuple(f"{prefix}." for prefix in self._layout.top)):
            return self._layer(self.num_layers - 1)
        raise ConfigError(f"The parameter {name!r} of {self.config.model_type} has no known depth")

    def _layer(self, index: int) -> Place:
        return Place(f"layer_{index}", self.num_layers - index)
