from typing import Any

import pytest
import torch

from lit_mtl.model.backbone import Backbone
from lit_mtl.model.sentence_encoder import SentenceEncoder
from tests.model.families import LAYERS, family_config


def encoder(**changes: Any) -> SentenceEncoder:
    torch.manual_seed(0)
    options: dict[str, Any] = {"pooling": "mean", "embedding_dim": 8, "normalize": False, **changes}
    return SentenceEncoder(Backbone(family_config("bert")), **options).eval()


def sentences() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    lengths = [3, 12, 7, 12, 5]
    ids = torch.randint(5, 50, (5, 12), generator=random)
    mask = (torch.arange(12) < torch.tensor(lengths)[:, None]).to(torch.int64)
    return ids * mask, mask


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_batch_order_and_company_do_not_change_an_embedding(pooling: str) -> None:
    model = encoder(pooling=pooling)
    ids, mask = sentences()
    order = torch.tensor([4, 2, 0, 3, 1])
    with torch.no_grad():
        together = model(ids, mask)
        shuffled = model(ids[order], mask[order])
        alone = torch.cat(
            [
                model(ids[[row], : mask[row].sum()], mask[[row], : mask[row].sum()])
                for row in range(5)
            ]
        )
    torch.testing.assert_close(shuffled, together[order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_padding_side_does_not_change_an_embedding(pooling: str) -> None:
    model = encoder(pooling=pooling)
    ids, mask = sentences()
    left = [torch.roll(ids[row], int(12 - mask[row].sum())) for row in range(5)]
    left_mask = mask.flip(1)
    with torch.no_grad():
        found = model(torch.stack(left), left_mask)
        torch.testing.assert_close(found, model(ids, mask), atol=1e-5, rtol=1e-5)


def test_the_projection_starts_semi_orthogonal_and_without_bias() -> None:
    projection = encoder().projection
    weight = projection.weight.detach()
    torch.testing.assert_close(weight @ weight.T, torch.eye(8), atol=1e-5, rtol=1e-5)
    assert not projection.bias.detach().any()


def test_normalize_keeps_the_direction_and_sets_the_length() -> None:
    ids, mask = sentences()
    with torch.no_grad():
        raw, unit = encoder()(ids, mask), encoder(normalize=True)(ids, mask)
    torch.testing.assert_close(unit, raw / raw.norm(dim=-1, keepdim=True))
    assert not torch.allclose(raw.norm(dim=-1), torch.ones(5), atol=0.05)


@pytest.mark.parametrize("layers", [1, LAYERS])
@pytest.mark.parametrize("normalize", [True, False])
def test_an_embedding_goes_on_from_its_prefix(layers: int, normalize: bool) -> None:
    model = encoder(normalize=normalize).double()
    ids, mask = sentences()
    with torch.no_grad():
        prefix = model.prefix(ids, mask, layers=layers)
        assert prefix.shape == ((5, 16) if layers == LAYERS else (5, 12, 16))
        found = model.from_prefix(prefix, mask, layers=layers)
        torch.testing.assert_close(found, model(ids, mask), atol=1e-12, rtol=0)


def test_an_encoder_is_built_in_16_bit_floats_as_well() -> None:
    """Lightning makes them the default where the whole network has them, as in bf16-true."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = encoder().projection
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.weight.dtype == torch.bfloat16
    product = found.weight.float() @ found.weight.float().T
    torch.testing.assert_close(product, torch.eye(8), atol=0.02, rtol=0)
