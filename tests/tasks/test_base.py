import pytest
import torch

from lit_mtl.errors import ConfigError
from lit_mtl.tasks import Classification, Regression, task_from_spec
from lit_mtl.tasks.base import Head, Task

TASKS: list[Task] = [
    Classification(labels=("a", "b", "c"), weight=0.5, label_smoothing=0.1),
    Regression(low=0.0, high=5.0, center=2.0, scale=0.5),
]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_survives_its_spec(task: Task) -> None:
    assert task_from_spec(task.spec()) == task


def test_unknown_kind_and_field_are_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"classification.*regression.*'ranking'"):
        task_from_spec({"kind": "ranking"})
    with pytest.raises(ConfigError, match="lo"):
        task_from_spec({"kind": "regression", "lo": 0, "high": 1})


def test_a_negative_or_undefined_weight_is_refused() -> None:
    for weight in (-1.0, float("nan")):
        with pytest.raises(ConfigError, match="weight"):
            Classification(weight=weight)


def test_head_is_linear_in_eval_mode_and_drops_in_training_mode() -> None:
    head = Head(4, 2, dropout=0.5)
    x = torch.randn(64, 4)
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.allclose(head(2 * x) - head(x), head(x) - head(0 * x), atol=1e-6)


def test_same_outputs_ignores_what_is_measured_and_nothing_else() -> None:
    score = Regression(low=0.0, high=5.0)
    assert score.same_outputs(Regression(low=0.0, high=5.0, center=1.0, scale=2.0, weight=3.0))
    assert not score.same_outputs(Regression(low=0.0, high=4.0))
    label = Classification(labels=("a", "b"))
    assert not label.same_outputs(Classification(labels=("b", "a")))
    assert not label.same_outputs(score)
