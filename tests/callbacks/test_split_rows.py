import dataclasses
import itertools

import pytest
import torch
from scipy import stats
from torch import Tensor

from lit_mtl.callbacks.split_rows import (
    SplitRows,
    correlation_interval,
    evenly,
    stated,
    wilson,
)
from lit_mtl.tasks import (
    Classification,
    Multilabel,
    Ordinal,
    Regression,
    RegressionWithSpread,
    Task,
)

TOPIC = Classification(labels=("book", "film"))
ASPECTS = Multilabel(labels=("plot", "music"))
STARS = Ordinal(low=1, high=3)
PRICE = Regression(low=0, high=10, center=5.0, scale=1.0)
RATING = RegressionWithSpread(low=0, high=10, center=5.0, scale=1.0)


def split_rows(task: Task, output: Tensor, target: Tensor) -> SplitRows:
    return SplitRows.finite(task, output, target, torch.arange(len(target)))


def right_rows(task: Task, rows: int = 60) -> SplitRows:
    """Confident outputs that are nearly all right."""
    number = torch.arange(rows)
    noise = 0.1 * torch.sin(number * 1.0)
    if task == TOPIC:
        target = number % 2
        return split_rows(task, 6 * torch.nn.functional.one_hot(target, 2).float(), target)
    if task == ASPECTS:
        has = torch.stack([number % 2, number % 3 == 0], dim=-1).float()
        return split_rows(task, 12 * has - 6, has)
    if task == STARS:
        level = number % 3 + 1
        over = level[:, None] > torch.tensor([1, 2])
        return split_rows(task, 12 * over.float() - 6, level)
    score = 5 + number % 4 - 1.5
    z = score - 5 + noise
    if task == PRICE:
        return split_rows(task, z[:, None], score.float())
    ratings = torch.stack([score, torch.ones(rows), torch.full((rows,), 2.0)], dim=-1)
    return split_rows(task, torch.stack([z, torch.zeros(rows)], dim=-1), ratings)


def with_wrong_target(rows: SplitRows, place: int) -> SplitRows:
    """The same rows, one of which has the target of a later one of another kind."""
    target = rows.target.clone()
    other = next(
        row for row in range(len(rows)) if (rows.target[row] - target[place]).abs().max() >= 1
    )
    target[place] = rows.target[other]
    return dataclasses.replace(rows, target=target)


KINDS = [TOPIC, ASPECTS, STARS, PRICE, RATING]


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind)
def test_a_target_that_all_other_rows_contradict_is_the_suspect(task: Task) -> None:
    rows = right_rows(task)
    assert rows.suspects()[0].tolist() == []
    found, confidence = with_wrong_target(rows, 17).suspects()
    assert found.tolist() == [17]
    assert confidence[0] > 0.9


def test_a_model_that_is_never_sure_accuses_nobody() -> None:
    logits = torch.tensor([[0.0, 0.1], [0.1, 0.0]]).repeat(20, 1)
    rows = split_rows(TOPIC, logits, torch.tensor([0, 0]).repeat(20))
    assert rows.suspects()[0].tolist() == [], "no row has the other label, so none sets its level"


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind)
def test_errors_are_signed_for_scores_and_shares_for_labels(task: Task) -> None:
    rows = right_rows(task)
    scored = task in (STARS, PRICE, RATING)
    assert (rows.scores() is not None) == scored
    assert rows.errors().abs().max() < 0.2
    wrong = with_wrong_target(rows, 17).errors()[17]
    assert abs(float(wrong)) >= 0.5
    scores = rows.scores()
    if scores is not None:
        torch.testing.assert_close(rows.errors(), scores[0] - scores[1])


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind)
def test_no_rows_and_one_row_are_no_trouble(task: Task) -> None:
    whole = right_rows(task)
    for count in (0, 1):
        rows = split_rows(task, whole.output[:count], whole.target[:count])
        assert len(rows.errors()) == len(rows.losses()) == count
        assert len(rows.suspects()[0]) == 0
        assert rows.reliability(calibrated=True) == []
        assert all(n > 0 for _, _, n in rows.reliability())


def test_rows_of_a_diverged_model_are_left_out() -> None:
    output = torch.tensor([[0.0, 1.0], [float("nan"), 0.0], [1.0, float("inf")]])
    rows = split_rows(TOPIC, output, torch.tensor([1, 1, 0]))
    assert rows.row_ids.tolist() == [0]


def test_reliability_compares_what_is_stated_with_what_is_true() -> None:
    sure = torch.tensor([[4.0, 0.0]]).repeat(100, 1)
    target = (torch.arange(100) >= 70).long()
    ((chance, observed, count),) = split_rows(TOPIC, sure, target).reliability()
    assert (chance, observed) == pytest.approx((0.982, 0.7), abs=1e-3)
    assert count == 100
    (after,) = split_rows(TOPIC, sure, target).reliability(calibrated=True)
    assert after[0] == pytest.approx(0.7, abs=0.01)


def test_reliability_of_scores_is_the_coverage_of_their_intervals() -> None:
    number = torch.arange(400)
    uniform = (number * 0.618034) % 1
    errors = torch.distributions.Normal(0.0, 1.0).icdf(uniform.clamp(0.001, 0.999))
    rows = split_rows(RATING, torch.zeros(400, 2), torch.stack([5 + errors] + [errors * 0] * 2, 1))
    points = rows.reliability()
    assert [point[0] for point in points] == pytest.approx([0.1 * n for n in range(1, 10)] + [0.95])
    assert [point[1] for point in points] == pytest.approx([point[0] for point in points], abs=0.02)
    narrow = dataclasses.replace(rows, output=torch.stack([torch.zeros(400), errors * 0 - 2], 1))
    assert all(observed < chance - 0.05 for chance, observed, _ in narrow.reliability())
    calibrated = narrow.reliability(calibrated=True)
    assert [point[1] for point in calibrated] == pytest.approx(
        [point[0] for point in calibrated], abs=0.04
    )


@pytest.mark.parametrize("task", [TOPIC, ASPECTS], ids=lambda task: task.kind)
def test_chances_name_who_has_a_label(task: Task) -> None:
    for chance, there in right_rows(task).chances().values():
        assert torch.equal(chance > 0.5, there)


@pytest.mark.parametrize(
    ("task", "target", "prediction"),
    [
        (TOPIC, "book", "book (1.00)"),
        (ASPECTS, "music", "music (1.00)"),
        (STARS, "1", "1.00"),
        (PRICE, "3.5", "3.50"),
        (RATING, "3.5 ± 1.41421 (2 ratings)", "3.50 ± 1.00"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_row_is_shown_in_the_users_terms(task: Task, target: str, prediction: str) -> None:
    assert right_rows(task).shown(0) == (target, prediction)


def test_a_sentence_without_labels_is_shown_as_such() -> None:
    assert stated(ASPECTS, torch.tensor([0.1, 0.2])) == "none"


def test_intervals_are_those_of_scipy() -> None:
    one = torch.sin(torch.arange(40.0))
    other = one + torch.cos(torch.arange(40.0) * 3)
    r, low, high = correlation_interval(one, other) or (0.0, 0.0, 0.0)
    expected = stats.pearsonr(one.numpy(), other.numpy())
    assert r == pytest.approx(expected.statistic)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval(0.95)), abs=1e-4)
    assert correlation_interval(one, torch.ones(40)) is None
    assert correlation_interval(one[:3], other[:3]) is None
    for right, count in [(0, 5), (3, 10), (10, 10)]:
        ends = stats.binomtest(right, count).proportion_ci(0.95, method="wilson")
        assert wilson(right / count, count) == pytest.approx(tuple(ends), abs=1e-4)


@pytest.mark.parametrize(("rows", "count"), [(0, 5), (3, 5), (10, 5), (11, 5), (1000, 7), (9, 0)])
def test_a_sample_is_spread_evenly(rows: int, count: int) -> None:
    found = evenly(rows, count=count)
    assert len(found) == len(set(found)) == min(rows, count)
    assert all(0 <= row < rows for row in found)
    gaps = {later - earlier for earlier, later in itertools.pairwise(found)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_a_fitted_radius_does_not_hide_what_other_intervals_hold() -> None:
    errors = torch.linspace(-3, 3, 200)
    rows = split_rows(
        dataclasses.replace(RATING, radius=1.0),
        torch.zeros(200, 2),
        torch.stack([5 + errors] + [errors * 0] * 2, 1),
    )
    held = [point[1] for point in rows.reliability()]
    assert held == sorted(held)
    assert held[0] < held[-1]
