"""The whole network: one sentence encoder and one head a task.

Shapes: B sentences, T tokens, D embedding dimension, O outputs of a head.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

from torch import Tensor, nn
from transformers import PreTrainedConfig

from lit_mtl.errors import ConfigError
from lit_mtl.model.backbone import Backbone
from lit_mtl.model.pooling import PoolingName
from lit_mtl.model.precision import own_precision
from lit_mtl.model.sentence_encoder import SentenceEncoder
from lit_mtl.optim.param_groups import Place
from lit_mtl.pretrained import config_from_json, load_config
from lit_mtl.tasks import task_from_spec
from lit_mtl.tasks.base import Head, Task

SPEC_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What stands on top of the backbone.

    Args:
        pooling: `mean`, `cls` or `max` of the token vectors.
        embedding_dim: size of the sentence embedding, D.
        normalize: whether embeddings are scaled to length 1.
        head_dropout: dropout on the embedding in front of each head, in [0, 1).
    """

    pooling: PoolingName = "mean"
    embedding_dim: int = 256
    normalize: bool = False
    head_dropout: float = 0.1

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.embedding_dim < 1:
            raise ConfigError(
                f"Expected argument `embedding_dim` to be at least 1, but got {self.embedding_dim}"
            )
        if not 0 <= self.head_dropout < 1:
            raise ConfigError(
                f"Expected argument `head_dropout` to be in [0, 1), but got {self.head_dropout}"
            )


class Output(NamedTuple):
    """What one forward pass gives.

    Args:
        sentence_embedding: (B, D).
        heads: output of each head before decoding, (B, O).
    """

    sentence_embedding: Tensor
    heads: dict[str, Tensor]


class MultiTaskModel(nn.Module):
    """A shared sentence encoder with one head a task, usable without a Trainer.

    `loss_weights` begins as the tasks' own weights; a stage of a freezing plan may change it.

    Args:
        config: configuration of the backbone.
        tasks: the tasks by name, with labels resolved.
        architecture: what stands on top of the backbone.
        backbone: hub name or folder of pre-trained weights. None: random weights.
    """

    def __init__(
        self,
        config: PreTrainedConfig,
        *,
        tasks: Mapping[str, Task],
        architecture: Architecture,
        backbone: str | None = None,
    ) -> None:
        super().__init__()
        if not tasks:
            raise ConfigError("Expected argument `tasks` to hold at least one task, but got none")
        for name in tasks:
            if not name.isidentifier() or hasattr(nn.ModuleDict(), name):
                raise ConfigError(
                    "Expected a task's name to be an identifier that torch does not use itself, "
                    f"but got {name!r}"
                )
        self.tasks = dict(tasks)
        self.loss_weights = {name: task.weight for name, task in tasks.items()}
        self.architecture = architecture
        self.encoder = SentenceEncoder(
            Backbone(config, name=backbone),
            pooling=architecture.pooling,
            embedding_dim=architecture.embedding_dim,
            normalize=architecture.normalize,
        )
        self.heads = nn.ModuleDict(
            {
                name: Head(
                    architecture.embedding_dim, task.output_dim, dropout=architecture.head_dropout
                )
                for name, task in tasks.items()
            }
        )

    @classmethod
    def from_backbone(
        cls,
        name: str,
        *,
        tasks: Mapping[str, Task],
        architecture: Architecture | None = None,
        pretrained: bool = True,
    ) -> Self:
        """Build a new model on a backbone.

        Args:
            name: hub name, local folder, or `minilm` for the packaged encoder.
            tasks: the tasks by name, with labels resolved.
            architecture: what stands on top of the backbone; None for the defaults.
            pretrained: False keeps the backbone's structure and starts from random weights.
        """
        return cls(
            load_config(name),
            tasks=tasks,
            architecture=architecture or Architecture(),
            backbone=name if pretrained else None,
        )

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Rebuild the structure that `spec` described, with random weights to be loaded over.

        Raises:
            ConfigError: for a description of another form, or of what does not exist here.
        """
        if spec.get("format") != SPEC_FORMAT:
            raise ConfigError(
                f"Expected a checkpoint of format {SPEC_FORMAT}, but got {spec.get('format')!r}"
            )
        with _readable():
            tasks, architecture = _declared(spec)
            config = config_from_json(spec["backbone_config"])
            return cls(config, tasks=tasks, architecture=architecture)

    @staticmethod
    def completed(spec: Mapping[str, Any]) -> dict[str, Any]:
        """A description of an earlier version, with the defaults of what was not known there.

        Raises:
            ConfigError: if it cannot be read.
        """
        with _readable():
            tasks, architecture = _declared(spec)
        return {
            **spec,
            "architecture": asdict(architecture),
            "tasks": {name: task.spec() for name, task in tasks.items()},
        }

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take weights over, once they are known to be this model's."""
        self.check_state(state_dict)
        return super().load_state_dict(state_dict, strict, assign)

    def check_state(self, state_dict: Mapping[str, Any]) -> None:
        """Compare names and shapes of weights with those of this model.

        Raises:
            ConfigError: naming one that differs.
        """
        own = {name: tuple(value.shape) for name, value in self.state_dict().items()}
        found = {name: tuple(getattr(value, "shape", ())) for name, value in state_dict.items()}
        for name in sorted({*own, *found}):
            if own.get(name) != found.get(name):
                raise ConfigError(
                    f"Expected weights that fit the model; {name} has the shape "
                    f"{found.get(name, 'of none')} there, {own.get(name, 'none')} here"
                )

    def head_layer(self, task: str) -> nn.Linear:
        """The linear layer of a task's head."""
        (layer,) = (part for part in self.heads[task].modules() if isinstance(part, nn.Linear))
        return layer

    def spec(self) -> dict[str, Any]:
        """Plain values that rebuild this model's structure without its original weights."""
        return {
            "format": SPEC_FORMAT,
            "backbone_config": self.encoder.backbone.config.to_json_string(use_diff=False),
            "architecture": asdict(self.architecture),
            "tasks": {name: task.spec() for name, task in self.tasks.items()},
        }

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Output:
        """Run the encoder once and every head on its embedding.

        Args:
            input_ids: token ids, (B, T).
            attention_mask: 1 for real tokens and 0 for padding, (B, T).
        """
        return self._output(self.encoder(input_ids, attention_mask))

    def from_prefix(self, prefix: Tensor, attention_mask: Tensor, *, layers: int) -> Output:
        """The same from what the embeddings and the lowest layers gave, which do not run.

        Args:
            prefix: what `encoder.prefix` gave.
            attention_mask: (B, T).
            layers: how many of the lowest layers.
        """
        return self._output(self.encoder.from_prefix(prefix, attention_mask, layers=layers))

    def _output(self, embedding: Tensor) -> Output:
        with own_precision(embedding.device):
            return Output(embedding, {name: head(embedding) for name, head in self.heads.items()})

    def decode(self, output: Output) -> list[dict[str, Any]]:
        """Each sentence's prediction for every task as plain values in the user's unit."""
        decoded = {
            name: [task.decode(row) for row in task.predict(output.heads[name].float()).cpu()]
            for name, task in self.tasks.items()
        }
        return [
            dict(zip(decoded, values, strict=True))
            for values in zip(*decoded.values(), strict=True)
        ]

    def places(self) -> dict[str, Place]:
        """Part and depth of every parameter, by each of its names."""
        return {
            name: self._place(name) for name, _ in self.named_parameters(remove_duplicate=False)
        }

    def uppermost_shared(self) -> list[nn.Parameter]:
        """The encoder's parameters that learn and are nearest to the heads; none where it is frozen."""
        found = [each for each in self.encoder.projection.parameters() if each.requires_grad]
        if found:
            return found
        by_depth: dict[int, list[nn.Parameter]] = {}
        for name, parameter in self.encoder.named_parameters(prefix="encoder"):
            if parameter.requires_grad:
                by_depth.setdefault(self._place(name).depth, []).append(parameter)
        return by_depth[min(by_depth)] if by_depth else []

    def _place(self, name: str) -> Place:
        transformer = "encoder.backbone.transformer."
        if name.startswith(transformer):
            return self.encoder.backbone.place(name.removeprefix(transformer))
        if name.startswith("encoder.projection."):
            return Place("projection", 0)
        if name.startswith("heads."):
            return Place(f"heads.{name.split('.')[1]}", 0)
        raise ConfigError(f"The parameter {name!r} has no known depth")


def _declared(spec: Mapping[str, Any]) -> tuple[dict[str, Task], Architecture]:
    tasks = {name: task_from_spec(task) for name, task in spec["tasks"].items()}
    return tasks, Architecture(**spec["architecture"])


@contextmanager
def _readable() -> Iterator[None]:
    """Say of what cannot be read that it is a checkpoint's description."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # whatever values of a wrong kind lead to
        raise ConfigError(
            f"The checkpoint's description of its model cannot be read ({error!r:.200})"
        ) from error
