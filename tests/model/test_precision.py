from contextlib import nullcontext

import torch
from torch import nn

from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.model.precision import own_precision
from lit_mtl.tasks import Classification, Regression
from tests.conftest import TINY_BERT


def test_a_block_computes_in_the_type_of_its_weights() -> None:
    layer, row = nn.Linear(3, 2), torch.ones(1, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(row).dtype == torch.bfloat16
        with own_precision(row.device):
            assert layer(row).dtype == torch.float32
        assert layer(row).dtype == torch.bfloat16
    assert isinstance(own_precision(row.device), nullcontext)


def test_pooling_projection_and_heads_are_computed_in_full() -> None:
    """They are what full precision makes of the token vectors that the backbone gives."""
    torch.manual_seed(0)
    tasks = {
        "sentiment": Classification(labels=("no", "yes")),
        "score": Regression(low=0, high=1).fit([0.0, 1.0]),
    }
    model = MultiTaskModel.from_backbone(str(TINY_BERT), tasks=tasks, pretrained=False).eval()
    encoder = model.encoder
    ids = torch.randint(5, 20, (4, 7))
    mask = torch.ones_like(ids)
    mask[0, 3:] = 0
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            tokens = encoder.backbone(ids, mask)
            found = model(ids, mask)
        embedding = encoder.projection(encoder.pooling(tokens.float(), mask))
    torch.testing.assert_close(found.sentence_embedding, embedding, atol=0, rtol=0)
    for name, head in model.heads.items():
        torch.testing.assert_close(found.heads[name], head(embedding), atol=0, rtol=0)
