"""What is fitted is what scikit-learn finds, and cannot be bettered nearby."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor
from torch.nn import functional

from lit_mtl.optim.linear_fit import fit_linear
from lit_mtl.tasks import (
    Classification,
    Multilabel,
    Ordinal,
    RatingDistribution,
    Regression,
    RegressionWithSpread,
)
from lit_mtl.tasks.base import Task

ROWS, DIMENSIONS = 60, 8
L2 = 0.3


def vectors() -> Tensor:
    """Vectors far from the origin with unequal variances, as sentence embeddings are."""
    torch.manual_seed(0)
    scales = torch.logspace(-1, 1, DIMENSIONS, dtype=torch.float64)
    return torch.randn(ROWS, DIMENSIONS, dtype=torch.float64) * scales + 5


def penalty(x: Tensor) -> float:
    return L2 * float((x - x.mean(dim=0)).square().mean())


def test_a_squared_error_gives_ridge_regression() -> None:
    x = vectors()
    y = x @ torch.randn(DIMENSIONS, dtype=torch.float64) + torch.randn(ROWS, dtype=torch.float64)
    found = fit_linear(x, lambda z: (z[:, 0] - y).square(), outputs=1, l2=L2)
    # it minimises the sum of squares + alpha |w|^2, which is R times this objective
    ridge = Ridge(alpha=ROWS * penalty(x) / 2, tol=1e-12).fit(x, y)
    np.testing.assert_allclose(found.weight[0], ridge.coef_, atol=1e-6)
    assert float(found.bias) == pytest.approx(ridge.intercept_, abs=1e-5)
    assert found.loss == pytest.approx(np.square(ridge.predict(x) - y.numpy()).mean(), rel=1e-6)


def test_a_cross_entropy_gives_logistic_regression() -> None:
    x = vectors()
    y = torch.randint(3, (ROWS,))
    found = fit_linear(
        x, lambda z: functional.cross_entropy(z, y, reduction="none"), outputs=3, l2=L2
    )
    logistic = LogisticRegression(C=1 / (ROWS * penalty(x)), tol=1e-10, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(found.weight, logistic.coef_, atol=1e-5)
    mine, other = (x @ found.weight.T + found.bias).softmax(dim=-1), logistic.predict_proba(x)
    np.testing.assert_allclose(mine, other, atol=1e-6)


def test_the_scale_of_the_vectors_does_not_matter() -> None:
    x, y = vectors(), torch.arange(ROWS) % 2

    def row_loss(z: Tensor) -> Tensor:
        return functional.cross_entropy(z, y, reduction="none")

    small, large = (fit_linear(x * scale, row_loss, outputs=2, l2=L2) for scale in (0.1, 100.0))
    torch.testing.assert_close(small.weight, large.weight * 1000, rtol=1e-5, atol=1e-7)
    assert small.loss == pytest.approx(large.loss, rel=1e-8)


KINDS: dict[str, tuple[Task, Tensor]] = {
    "classification": (
        Classification(labels=("a", "b", "c"), label_smoothing=0.1),
        torch.arange(ROWS) % 3,
    ),
    "multilabel": (
        Multilabel(labels=("a", "b")),
        torch.stack([torch.arange(ROWS) % 2, torch.arange(ROWS) % 3 // 2], dim=1),
    ),
    "ordinal": (Ordinal(low=1, high=4), 1 + torch.arange(ROWS) % 4),
    "regression": (Regression(low=0, high=9, center=4.0, scale=2.0), torch.arange(ROWS) % 10.0),
    "bounded": (
        Regression(low=0, high=9, center=4.0, scale=2.0, bounded=True),
        torch.arange(ROWS) % 10.0,
    ),
    "huber": (
        Regression(low=0, high=9, center=4.0, scale=2.0, loss="huber"),
        torch.arange(ROWS) % 10.0,
    ),
    "absolute": (
        Regression(low=0, high=9, center=4.0, scale=2.0, loss="absolute"),
        torch.arange(ROWS) % 10.0,
    ),
    "shares": (
        RatingDistribution(low=0, high=4),
        1.0 + torch.stack([torch.arange(ROWS) % (level + 2) for level in range(5)], dim=1),
    ),
    "spread": (
        RegressionWithSpread(low=0, high=9, center=4.0, scale=2.0),
        torch.stack([torch.arange(ROWS) % 10.0, torch.ones(ROWS), 3 * torch.ones(ROWS)], dim=1),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_nearby_is_better_whatever_the_kind(kind: str) -> None:
    task, target = KINDS[kind]
    x = vectors()

    def row_loss(z: Tensor) -> Tensor:
        return task.row_loss(z, target)

    def objective(weight: Tensor, bias: Tensor) -> float:
        loss = row_loss(x @ weight.T + bias).mean()
        return float(loss + penalty(x) / 2 * weight.square().sum())

    found = fit_linear(x, row_loss, outputs=task.output_dim, l2=L2)
    best = objective(found.weight, found.bias)
    exact = 1e-3 if kind == "absolute" else 1e-7  # a kink is met only nearly
    assert best < objective(torch.zeros_like(found.weight), torch.zeros_like(found.bias)) - 1e-3
    for seed in range(40):
        torch.manual_seed(seed)
        step = 10.0 ** -(1 + seed % 4)
        weight = found.weight + step * torch.randn_like(found.weight)
        bias = found.bias + step * torch.randn(task.output_dim)
        assert objective(weight, found.bias) >= best - exact
        assert objective(found.weight, bias) >= best - exact
