"""The shared sentence encoder: backbone, pooling, projection.

Shapes: B sentences, T tokens, H hidden dimension, D embedding dimension.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_mtl.model.backbone import Backbone
from lit_mtl.model.pooling import Pooling
from lit_mtl.model.precision import own_precision


class SentenceEncoder(nn.Module):
    """Turns token ids into one sentence embedding of fixed size.

    The projection is linear and begins as a semi-orthogonal map with zero bias: it keeps as much
    of the angles between pooled vectors as D dimensions can, where torch's default would shrink
    and shift them.

    Args:
        backbone: the transformer.
        pooling: `mean`, `cls` or `max`.
        embedding_dim: size of the sentence embedding, D.
        normalize: whether embeddings are scaled to length 1.
    """

    def __init__(
        self, backbone: Backbone, *, pooling: str, embedding_dim: int, normalize: bool
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = Pooling(pooling)
        self.projection = nn.Linear(backbone.hidden_size, embedding_dim)
        # 16-bit floats have no decomposition
        full = torch.promote_types(self.projection.weight.dtype, torch.float32)
        weight = nn.init.orthogonal_(torch.empty(self.projection.weight.shape, dtype=full))
        with torch.no_grad():
            self.projection.weight.copy_(weight)
        nn.init.zeros_(self.projection.bias)
        self.normalize = normalize

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Sentence embeddings (B, D) of ids (B, T) under a mask (B, T)."""
        return self._embedding(
            self._pooled(self.backbone(input_ids, attention_mask), attention_mask)
        )

    def prefix(self, input_ids: Tensor, attention_mask: Tensor, *, layers: int) -> Tensor:
        """What embeddings and lowest layers give, from where `from_prefix` goes on.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T).
            layers: how many of the lowest layers, from 1 to L.

        Returns:
            Pooled vectors (B, H) if these are all layers, otherwise hidden states (B, T, H).
        """
        states = self.backbone.prefix(input_ids, attention_mask, layers=layers)
        return self._pooled(states, attention_mask) if self._is_whole(layers) else states

    def from_prefix(self, prefix: Tensor, attention_mask: Tensor, *, layers: int) -> Tensor:
        """Sentence embeddings (B, D) from what `prefix` gave."""
        if self._is_whole(layers):
            return self._embedding(prefix)
        states = self.backbone.from_prefix(prefix, attention_mask, layers=layers)
        return self._embedding(self._pooled(states, attention_mask))

    def _is_whole(self, layers: int) -> bool:
        return layers == self.backbone.num_layers

    def _pooled(self, tokens: Tensor, mask: Tensor) -> Tensor:
        with own_precision(tokens.device):
            pooled: Tensor = self.pooling(tokens.to(self.projection.weight.dtype), mask)
            return pooled

    def _embedding(self, pooled: Tensor) -> Tensor:
        with own_precision(pooled.device):
            embedding: Tensor = self.projection(pooled)
            return functional.normalize(embedding, dim=-1) if self.normalize else embedding
