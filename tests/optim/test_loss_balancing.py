import torch

from lit_mtl.optim.loss_balancing import labelled_mean, weighted_sum


def test_labelled_mean_is_the_mean_when_the_count_is_that_of_the_rows() -> None:
    losses = torch.tensor([1.0, 2.0, 6.0])
    assert labelled_mean(losses, count=torch.tensor(3.0)) == 3.0


def test_devices_with_unequal_rows_average_to_the_mean_over_all_rows() -> None:
    parts = [torch.tensor([1.0, 2.0, 6.0]), torch.tensor([4.0]), torch.tensor([])]
    count = torch.tensor(4 / 3)
    average = sum(labelled_mean(part, count=count) for part in parts) / 3
    assert torch.isclose(torch.as_tensor(average), torch.cat(parts).mean())


def test_no_labelled_row_gives_zero_loss_and_a_zero_gradient() -> None:
    weight = torch.ones(2, requires_grad=True)
    loss = labelled_mean((weight * 1.0)[:0], count=torch.tensor(0.0))
    loss.backward()
    assert loss == 0.0
    assert weight.grad is not None
    assert weight.grad.tolist() == [0.0, 0.0]


def test_weighted_sum_by_hand_and_weight_zero_removes_the_gradient() -> None:
    losses = {
        name: torch.tensor(value, requires_grad=True) for name, value in (("a", 2.0), ("b", 5.0))
    }
    total = weighted_sum(losses, weights={"a": 0.5, "b": 0.0})
    total.backward()
    assert total == 1.0
    assert losses["a"].grad == 0.5
    assert losses["b"].grad == 0.0
