"""A step on the processor trains as torch's own does, but for what it replaces."""

import pytest
import torch

from lit_mtl.model import row_gradients
from lit_mtl.model.backbone import Backbone
from tests.model.families import FAMILIES, family_config


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_the_gradients_of_torchs_own_lookup(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Word embeddings are looked up in the replaced way, and their gradients are the same."""
    monkeypatch.setattr(row_gradients, "LEAST_BYTES", 1)
    torch.manual_seed(0)
    config = family_config(family)
    for name in vars(config):
        if "dropout" in name or name.endswith("_drop"):
            setattr(config, name, 0.0)
    own = Backbone(config).double()
    ids = torch.randint(5, 40, (3, 7))
    mask = torch.ones_like(ids)
    gradients = []
    for replaced in (True, False):
        own._compiled = not replaced
        own.zero_grad()
        own(ids, mask).pow(2).sum().backward()
        gradients.append({name: each.grad for name, each in own.named_parameters()})
    words = own.transformer.get_input_embeddings().weight
    assert words in row_gradients._KNOWN
    for name, found in gradients[0].items():
        torch.testing.assert_close(found, gradients[1][name], msg=name)
