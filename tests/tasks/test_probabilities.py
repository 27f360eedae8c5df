"""What classification, multilabel and ordinal tasks share: the temperature."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lit_mtl.errors import ConfigError
from lit_mtl.tasks import Classification, Multilabel, Ordinal, task_from_spec
from lit_mtl.tasks.probabilities import ProbabilityTask

TASKS: list[ProbabilityTask] = [
    Classification(labels=("a", "b", "c")),
    Multilabel(labels=("a", "b", "c")),
    Ordinal(low=2, high=5),
]
EVERY_KIND = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)


def random_output(task: ProbabilityTask, rows: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(rows, task.output_dim, generator=generator)


def drawn(task: ProbabilityTask, output: Tensor, seed: int = 1) -> Tensor:
    """Targets that come true as often as the task states."""
    generator = torch.Generator().manual_seed(seed)
    probability = task.predict(output)
    if isinstance(task, Multilabel):
        return torch.bernoulli(probability, generator=generator)
    lowest = task.levels.start if isinstance(task, Ordinal) else 0
    return torch.multinomial(probability, 1, generator=generator).squeeze(1) + lowest


def negative_log_likelihood(task: ProbabilityTask, output: Tensor, target: Tensor) -> float:
    """By hand, from what `predict` states."""
    probability = task.predict(output.double())
    if isinstance(task, Multilabel):
        came_true = torch.where(target > 0, probability, 1 - probability)
    else:
        lowest = task.levels.start if isinstance(task, Ordinal) else 0
        came_true = probability.gather(1, (target - lowest).unsqueeze(1))
    return float(-came_true.log().mean())


@EVERY_KIND
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_the_truth_is_found(task: ProbabilityTask, temperature: float) -> None:
    output = random_output(task, 3000)
    target = drawn(replace(task, temperature=temperature), output)
    found = task.calibrate(output, target)
    assert found == replace(task, temperature=found.temperature), "nothing else is changed"
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert replace(task, temperature=9.0).calibrate(output, target) == found, "from any start"


@EVERY_KIND
@given(seed=st.integers(0, 1000))
def test_it_has_the_largest_likelihood_of_what_is_stated(task: ProbabilityTask, seed: int) -> None:
    output = random_output(task, 60, seed)
    target = drawn(task, output, seed)
    found = task.calibrate(output, target)
    if found is task:
        return  # separable rows fix no temperature
    least = negative_log_likelihood(found, output, target)
    for factor in (0.95, 1.05):
        other = replace(found, temperature=found.temperature * factor)
        assert negative_log_likelihood(other, output, target) > least


@EVERY_KIND
@given(seed=st.integers(0, 1000), temperature=st.floats(0.1, 10))
def test_the_order_within_a_row_stays(task: ProbabilityTask, seed: int, temperature: float) -> None:
    output = random_output(task, 20, seed).double()
    cold = replace(task, temperature=temperature)
    before, after = task.predict(output), cold.predict(output)
    ordered = after.gather(
        1, before.argsort(dim=-1)
    )  # ties where the largest are 1 to the last bit
    assert bool((ordered.diff(dim=-1) >= 0).all())
    if not isinstance(task, Multilabel):
        torch.testing.assert_close(after.sum(dim=-1), torch.ones(20, dtype=torch.float64))


@EVERY_KIND
def test_metrics_are_those_of_the_head_as_it_was_trained(task: ProbabilityTask) -> None:
    output = random_output(task, 500)
    target = drawn(task, output)
    assert replace(task, temperature=5.0).metrics(output, target) == task.metrics(output, target)


@EVERY_KIND
def test_rows_that_fix_no_temperature_leave_the_task_as_it_is(task: ProbabilityTask) -> None:
    output = random_output(task, 50) - 1  # a single class alone would have a best temperature
    one = drawn(task, output)[:1]
    same = (one if one.ndim == 1 else one.new_zeros(1, 3)).expand(50, *one.shape[1:])
    assert task.calibrate(output, same) is task, "a single class"
    if isinstance(task, Multilabel):
        never_wrong = (output > 0).float()
    else:
        lowest = task.levels.start if isinstance(task, Ordinal) else 0
        never_wrong = task.predict(output).argmax(dim=-1) + lowest
    assert task.calibrate(output, never_wrong) is task
    assert task.calibrate(output[:0], never_wrong[:0]) is task


@EVERY_KIND
def test_a_temperature_that_is_none_is_refused(task: ProbabilityTask) -> None:
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="`temperature` to be above 0"):
            task_from_spec({**task.spec(), "temperature": temperature})
