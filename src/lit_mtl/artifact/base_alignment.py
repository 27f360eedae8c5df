"""An embedding whose cosines follow the base's, with the same predictions.

Fine-tuning on labels stretches the space along what the heads read, so that sentences end up ordered by
label. Most of what the base knew of them is still there, and a linear map brings it forward. Whatever map is
put behind the projection, the heads can undo it, if it can be undone: they are linear. So neither the backbone
is trained again nor a prediction changed, beyond rounding.

Shapes: S sentences, H hidden dimension, D embedding dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from lit_mtl.artifact.base_share import refuse_another_base
from lit_mtl.artifact.bundle import TrainedModel
from lit_mtl.embedding_health import kept_similarity
from lit_mtl.errors import ConfigError
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.optim.linear_maps import aligning_map, principal_directions

LEAST_SENTENCES = 100
"""Fewer do not say where a space of hundreds of dimensions lies."""

_HELD_OUT = 10
"""One sentence of so many is measured on and not fitted to."""

_MOST_MEASURED = 1000


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """What an alignment has done, on sentences to which it was not fitted.

    Args:
        sentences: how many it was fitted to.
        measured: how many it was measured on.
        kept_similarity_before: rank correlation of the cosines of all their pairs with those in the base.
        kept_similarity: the same after it.
        largest_change: of any head's output, before decoding.
    """

    sentences: int
    measured: int
    kept_similarity_before: float
    kept_similarity: float
    largest_change: float


def align_to_base(model: TrainedModel, texts: Sequence[str], *, base: str) -> Alignment:
    """Change projection and heads so that cosines are like the base's and predictions stay.

    The base's embedding is its pooled vector, scaled to length 1, in its D principal directions on these
    sentences. The map to it is `aligning_map`.

    Args:
        model: the trained model, on the CPU, which is changed.
        texts: sentences, without labels; best such as the embedding is to compare.
        base: hub name or folder of the weights with which the backbone began, or `minilm`.

    Raises:
        ConfigError: if embeddings are scaled to length 1, which heads cannot undo; if `base` has other
            parameters; or for fewer than `LEAST_SENTENCES` different sentences.
        MissingInputError: if there is no such base.
    """
    network = model.network
    if network.architecture.normalize:
        raise ConfigError(
            "`align_to_base` needs embeddings that are as long as they come; with `model.normalize` "
            "a head cannot undo what is done to them"
        )
    fitted, measured = _parted(texts)
    origin = TrainedModel(
        MultiTaskModel.from_backbone(base, tasks=network.tasks, architecture=network.architecture),
        model.tokenizer,
    )
    states = (each.network.encoder.backbone.state_dict() for each in (model, origin))
    refuse_another_base(*states, name=base, wanted_by="align_to_base")
    before = model.run(measured)
    targets = normalize(origin.pooled(fitted).double(), dim=1)
    size = network.architecture.embedding_dim
    directions, _ = principal_directions([targets], count=min(size, targets.shape[1]))
    targets = pad(targets @ directions.T, (0, size - len(directions)))
    _put_behind(network, *aligning_map(model.embed(fitted), targets))
    after, expected = model.run(measured), origin.pooled(measured)
    changes = [after.heads[name] - output for name, output in before.heads.items()]
    return Alignment(
        sentences=len(fitted),
        measured=len(measured),
        kept_similarity_before=kept_similarity(before.sentence_embedding, expected),
        kept_similarity=kept_similarity(after.sentence_embedding, expected),
        largest_change=float(torch.stack([change.abs().max() for change in changes]).max()),
    )


def _parted(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """The different sentences, those to fit to and some to measure on; the same ones each time."""
    different = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if len(different) < LEAST_SENTENCES:
        raise ConfigError(
            f"`align_to_base` needs at least {LEAST_SENTENCES} different sentences, and found "
            f"{len(different)}"
        )
    order = torch.randperm(len(different), generator=torch.Generator().manual_seed(0)).tolist()
    held = order[: min(len(different) // _HELD_OUT, _MOST_MEASURED)]
    rest = sorted(set(order) - set(held))
    return [different[row] for row in rest], [different[row] for row in held]


@torch.no_grad()
def _put_behind(network: MultiTaskModel, matrix: Tensor, shift: Tensor) -> None:
    """Let the projection map its output on, and each head undo it: (D, D) and (D,)."""
    projection = network.encoder.projection
    weight, bias = projection.weight.double(), projection.bias.double()
    projection.weight.copy_(matrix @ weight)
    projection.bias.copy_(matrix @ bias + shift)
    for linear in map(network.head_layer, network.tasks):
        undone = torch.linalg.solve(matrix.T, linear.weight.double().T).T
        linear.bias.copy_(linear.bias.double() - undone @ shift)
        linear.weight.copy_(undone)
