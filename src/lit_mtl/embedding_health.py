"""Whether an embedding is still one: what fine-tuning on labels does to the space of sentences.

Trained on labels alone, an embedding ends up ordering sentences by label and by nothing else. These
numbers show how far it has gone. Shapes: N sentences, D and E dimensions.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lit_mtl.ranks import spearman


class Purity(NamedTuple):
    """How often the nearest other sentence has the same label, and how often by chance."""

    found: float
    chance: float


def mean_cosine(vectors: Tensor) -> float:
    """Mean cosine of two different sentences: the anisotropy of Ethayarajh (2019).

    Near 0 the directions are spread; near 1 all sentences lie in one narrow cone.

    Args:
        vectors: (N, D), with N at least 2.
    """
    return float(_pairwise(vectors).mean())


def kept_similarity(vectors: Tensor, base: Tensor) -> float:
    """Spearman correlation of the cosines of all pairs here with those in a base embedding.

    Representational similarity (Kriegeskorte et al. 2008): 1 where sentences are as near to each
    other as they were, whatever turned or scaled the space. Dimensions may differ.

    Args:
        vectors: (N, D), with N at least 3.
        base: of the same sentences, (N, E).
    """
    return pair_correlation(_pairwise(vectors), _pairwise(base))


def pair_correlation(cosines: Tensor, similarity: Tensor) -> float:
    """Spearman correlation of the cosines of sentence pairs with what people say of them.

    Args:
        cosines: (N,).
        similarity: (N,), in any unit.
    """
    return spearman(cosines.double(), similarity.double())


def neighbour_purity(vectors: Tensor, labels: Tensor) -> Purity:
    """Share of sentences whose nearest other one, by cosine, has their label.

    Args:
        vectors: (N, D), with N at least 2. Of some that are not finite there is no nearest one.
        labels: class numbers, (N,).
    """
    unit = normalize(vectors.double(), dim=1)
    cosines = unit @ unit.T
    cosines.fill_diagonal_(-torch.inf)
    found = (labels[cosines.argmax(dim=1)] == labels).double()
    if not vectors.isfinite().all():
        found = found * torch.nan
    _, counts = labels.unique(return_counts=True)
    same = (counts * (counts - 1)).sum() / (len(labels) * (len(labels) - 1))
    return Purity(float(found.mean()), float(same))


def _pairwise(vectors: Tensor) -> Tensor:
    """Cosines of all pairs of different sentences, (N (N - 1) / 2,)."""
    unit = normalize(vectors.double(), dim=1)
    rows, columns = torch.triu_indices(len(unit), len(unit), offset=1)
    return (unit @ unit.T)[rows, columns]
