"""The shared sentence encoder: backbone, pooling, projection.

Shapes: B sentences, T tokens, H hidden dimension, D embedding dimension.
"""

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
        nn.init.orthogonal_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        self.normalize = normalize

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Sentence embeddings (B, D) of ids (B, T) under a mask (B, T)."""
        tokens = self.backbone(input_ids, attention_mask)
        with own_precision(tokens.device):
            pooled = self.pooling(tokens.to(self.projection.weight.dtype), attention_mask)
            embedding: Tensor = self.projection(pooled)
            return functional.normalize(embedding, dim=-1) if self.normalize else embedding
