import math

import pytest
import torch
from torch import Tensor, nn

from lit_mtl.callbacks.gradients import MOST_TASKS, depth_norms, task_cosines


def with_gradient(*values: float) -> nn.Parameter:
    parameter = nn.Parameter(torch.zeros(len(values)))
    parameter.grad = torch.tensor(values)
    return parameter


def test_the_norm_of_a_depth_is_that_of_all_its_gradients() -> None:
    groups = [
        {"depth": 0, "params": [with_gradient(3.0), with_gradient(0.0, 0.0)]},
        {"depth": 0, "params": [with_gradient(4.0)]},
        {"depth": 2, "params": [with_gradient(1.0, 1.0), nn.Parameter(torch.ones(2))]},
        {"depth": 3, "params": [nn.Parameter(torch.ones(2))]},
    ]
    assert depth_norms(groups) == {0: 5.0, 2: pytest.approx(math.sqrt(2))}
    assert depth_norms(groups[3:]) == {}


def losses_of(embedding: Tensor) -> dict[str, Tensor]:
    """By hand: gradients along (1, 0), (-1, 0), (0, 1) and (1, 1) of every row."""
    return {
        "right": embedding[:, 0].sum(),
        "left": -3 * embedding[:, 0].sum(),
        "up": embedding[:, 1].sum(),
        "both": embedding.sum(),
        "none": 0 * embedding.sum(),
    }


def test_cosines_by_hand_and_none_without_a_direction() -> None:
    weight = nn.Parameter(torch.eye(2))
    embedding = torch.ones(3, 2) @ weight
    losses = losses_of(embedding)
    weights = {"right": 1.0, "left": 0.1, "up": 2.0, "both": 1.0, "none": 1.0}
    found = task_cosines(losses, embedding, weights=weights)
    assert found == {
        ("right", "left"): pytest.approx(-1),
        ("right", "up"): pytest.approx(0),
        ("right", "both"): pytest.approx(math.sqrt(0.5)),
        ("left", "up"): pytest.approx(0),
        ("left", "both"): pytest.approx(-math.sqrt(0.5)),
        ("up", "both"): pytest.approx(math.sqrt(0.5)),
    }
    weights["up"] = 0.0
    assert not any("up" in pair for pair in task_cosines(losses, embedding, weights=weights))


def test_the_graph_is_kept_and_no_gradient_left() -> None:
    weight = nn.Parameter(torch.eye(2))
    embedding = torch.ones(3, 2) @ weight
    losses = losses_of(embedding)
    task_cosines(losses, embedding, weights=dict.fromkeys(losses, 1.0))
    assert weight.grad is None
    losses["right"].backward()
    assert weight.grad is not None


def test_what_is_frozen_has_no_cosine() -> None:
    embedding = torch.ones(3, 2)
    head = nn.Linear(2, 2)
    losses = dict(enumerate_losses(head(embedding)))
    assert task_cosines(losses, embedding, weights=dict.fromkeys(losses, 1.0)) == {}


def enumerate_losses(outputs: Tensor) -> list[tuple[str, Tensor]]:
    return [(f"task_{place}", outputs[:, place].sum()) for place in range(outputs.shape[1])]


def test_of_many_tasks_only_the_first_are_compared() -> None:
    embedding = torch.ones(1, MOST_TASKS + 3, requires_grad=True)
    losses = dict(enumerate_losses(embedding * 2))
    found = task_cosines(losses, embedding, weights=dict.fromkeys(losses, 1.0))
    assert len(found) == MOST_TASKS * (MOST_TASKS - 1) // 2
