import math

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from lit_mtl.errors import ConfigError
from lit_mtl.optim.schedules import Shape, WarmupDecay


def factors(shape: Shape, *, warmup: float = 0.2, steps: int = 10) -> list[float]:
    course = WarmupDecay(total_steps=steps, warmup_fraction=warmup, shape=shape)
    return [course(step) for step in range(steps + 1)]


def test_linear_climbs_then_falls_to_zero() -> None:
    expected = [1 / 3, 2 / 3, *(1 - step / 8 for step in range(9))]
    assert factors("linear") == pytest.approx(expected)


def test_cosine_climbs_then_falls_to_zero() -> None:
    expected = [1 / 3, 2 / 3, *((1 + math.cos(math.pi * step / 8)) / 2 for step in range(9))]
    assert factors("cosine") == pytest.approx(expected)


def test_constant_stays_after_its_warmup() -> None:
    assert factors("constant") == pytest.approx([1 / 3, 2 / 3, *[1.0] * 9])


def test_without_a_warmup_the_first_step_has_the_full_rate() -> None:
    assert factors("linear", warmup=0.0)[0] == 1.0


def test_the_factor_stays_at_zero_after_the_end() -> None:
    course = WarmupDecay(total_steps=4, warmup_fraction=0.0, shape="linear")
    assert course(100) == 0.0


def test_groups_keep_their_ratios_under_lambda_lr() -> None:
    groups = [{"params": [torch.zeros(1)], "lr": rate} for rate in (1.0, 0.5)]
    optimizer = SGD(groups)
    course = WarmupDecay(total_steps=4, warmup_fraction=0.5, shape="linear")
    scheduler = LambdaLR(optimizer, [course, course])
    for step in range(4):
        assert scheduler.get_last_lr() == pytest.approx([course(step), 0.5 * course(step)])
        optimizer.step()
        scheduler.step()


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="total_steps"):
        WarmupDecay(total_steps=0, warmup_fraction=0.1, shape="linear")
    with pytest.raises(ConfigError, match="linear, cosine, constant, but got 'Linear'"):
        factors("Linear")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="warmup_fraction"):
        WarmupDecay(total_steps=5, warmup_fraction=1.0, shape="linear")
