import pytest
import torch

from lit_mtl.errors import ConfigError
from lit_mtl.model.pooling import Pooling

TOKENS = torch.tensor([[[1.0, -5.0], [3.0, -7.0], [100.0, 100.0]]])
RIGHT = torch.tensor([[1, 1, 0]])
FLIPPED, LEFT = TOKENS.flip(1), RIGHT.flip(1)


@pytest.mark.parametrize(
    ("name", "expected"), [("mean", [2.0, -6.0]), ("max", [3.0, -5.0]), ("cls", [1.0, -5.0])]
)
def test_pooling_by_hand_leaves_padding_out(name: str, expected: list[float]) -> None:
    assert Pooling(name)(TOKENS, RIGHT).tolist() == [expected]


@pytest.mark.parametrize(("name", "expected"), [("mean", [2.0, -6.0]), ("max", [3.0, -5.0])])
def test_order_of_tokens_does_not_matter(name: str, expected: list[float]) -> None:
    assert Pooling(name)(FLIPPED, LEFT).tolist() == [expected]


def test_cls_is_the_first_real_token_under_left_padding() -> None:
    assert Pooling("cls")(FLIPPED, LEFT).tolist() == [[3.0, -7.0]]


def test_an_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"cls.*max.*mean.*'median'"):
        Pooling("median")
