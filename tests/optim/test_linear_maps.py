import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from lit_mtl.optim.linear_maps import aligning_map, principal_directions


def test_no_map_to_as_many_dimensions_changes_the_inner_products_less() -> None:
    torch.manual_seed(0)
    vectors = normalize(torch.randn(50, 8, dtype=torch.float64) * torch.arange(1, 9), dim=1)
    directions, _ = principal_directions(vectors.split(7), count=3)

    def change(weight: Tensor) -> float:
        mapped = vectors @ weight.T
        return float((mapped @ mapped.T - vectors @ vectors.T).square().sum())

    least = change(directions)
    for step in (1e-3, 1e-1, 1.0):
        assert least < change(directions + step * torch.randn_like(directions))


def drawn(rows: int = 60, size: int = 6) -> Tensor:
    torch.manual_seed(0)
    mixing = torch.randn(size, size, dtype=torch.float64)
    return torch.randn(rows, size, dtype=torch.float64) @ mixing + 3.0


def turned(size: int = 6) -> Tensor:
    orthogonal: Tensor = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))[0]
    return orthogonal


@pytest.mark.parametrize("ridge", [1e-6, 0.01, 10.0])
def test_a_similarity_transform_is_found_whatever_the_ridge(ridge: float) -> None:
    vectors, turn = drawn(), turned()
    shift = torch.arange(6, dtype=torch.float64)
    matrix, added = aligning_map(vectors, 0.3 * vectors @ turn.T + shift, ridge=ridge)
    torch.testing.assert_close(matrix, 0.3 * turn)
    torch.testing.assert_close(added, shift)


def test_with_little_ridge_it_is_least_squares() -> None:
    vectors, targets = drawn(), torch.randn(60, 6, dtype=torch.float64)
    matrix, added = aligning_map(vectors, targets, ridge=1e-10)
    found = torch.linalg.lstsq(torch.cat([vectors, torch.ones(60, 1)], dim=1), targets).solution
    torch.testing.assert_close(matrix, found[:-1].T, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(added, found[-1], atol=1e-6, rtol=1e-6)


def test_with_much_ridge_it_is_the_nearest_turn_and_scale() -> None:
    vectors, targets = drawn(), torch.randn(60, 6, dtype=torch.float64) + drawn()
    matrix, _ = aligning_map(vectors, targets, ridge=1e9)
    product = matrix @ matrix.T
    torch.testing.assert_close(product, product[0, 0] * torch.eye(6, dtype=torch.float64))
    own, aim = (rows - rows.mean(dim=0) for rows in (vectors, targets))

    def error(weight: Tensor) -> float:
        return float((own @ weight.T - aim).square().sum())

    for factor in (0.9, 1.1):
        assert error(matrix) < error(factor * matrix)
    turn, _ = torch.linalg.qr(torch.eye(6, dtype=torch.float64) + 0.1 * torch.randn(6, 6))
    assert error(matrix) < error(matrix @ (turn * turn.diagonal().sign()).T)


def test_no_direction_is_lost_even_where_the_vectors_have_none() -> None:
    vectors = drawn()
    vectors[:, 3:] = vectors[:, :3]  # of rank 3
    targets = torch.randn(60, 6, dtype=torch.float64)
    targets[:, 4:] = 0.0
    matrix, added = aligning_map(vectors, targets)
    assert torch.linalg.cond(matrix) < 1e3
    mapped = vectors @ matrix.T + added
    torch.testing.assert_close(torch.linalg.solve(matrix, (mapped - added).T).T, vectors)
