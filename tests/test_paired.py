import math
from pathlib import Path

import pytest
import torch

from lit_mtl.errors import DataError, StorageError
from lit_mtl.paired import (
    Comparison,
    Estimate,
    HeldOutRows,
    compare,
    load_rows,
    row_keys,
    save_rows,
)
from lit_mtl.tasks import Classification, Regression

LABEL = Classification(labels=("negative", "positive"))
SCORE = Regression(low=-4.0, high=4.0)
ROWS = 200


def classified(right: torch.Tensor, first: int = 0) -> HeldOutRows:
    """Rows of which a model has labelled some rightly, all of the class 0."""
    output = torch.stack([right.float(), 1 - right.float()], dim=1)
    keys = [f"{number:04}" for number in range(first, first + len(right))]
    return HeldOutRows(
        task=LABEL, keys=keys, output=output, target=torch.zeros(len(right), dtype=torch.int64)
    )


def drawn(chance: float, generator: torch.Generator, rows: int = ROWS) -> HeldOutRows:
    return classified(torch.rand(rows, generator=generator) < chance)


def scored(noise: float, seed: int) -> HeldOutRows:
    random = torch.Generator().manual_seed(seed)
    target = torch.arange(ROWS) / ROWS
    output = (target + noise * torch.randn(ROWS, generator=random)).unsqueeze(1)
    keys = [f"{number:04}" for number in range(ROWS)]
    return HeldOutRows(task=SCORE, keys=keys, output=output, target=target)


def of_two(one: list[HeldOutRows], other: list[HeldOutRows], *, resamples: int = 200) -> Comparison:
    """One fold."""
    return compare({"one": [one], "other": [other]}, resamples=resamples)


def difference(
    one: list[HeldOutRows], other: list[HeldOutRows], *, resamples: int = 200
) -> Estimate:
    return of_two(one, other, resamples=resamples).differences["other"]


def shuffled(rows: HeldOutRows, seed: int) -> HeldOutRows:
    order = torch.randperm(len(rows.keys), generator=torch.Generator().manual_seed(seed))
    return rows.of([rows.keys[place] for place in order.tolist()])


@pytest.mark.slow
def test_without_a_difference_the_interval_covers_0_in_about_95_of_100() -> None:
    """Two models that are right equally often, a sentence's luck being shared by half."""
    random = torch.Generator().manual_seed(1)
    covered = 0
    for _ in range(100):
        hard = torch.rand(ROWS, generator=random) < 0.5
        one, other = ((torch.rand(ROWS, generator=random) < 0.8) & ~hard for _ in range(2))
        found = difference([classified(one)], [classified(other)], resamples=100)
        assert found.interval is not None
        covered += found.interval[0] <= 0 <= found.interval[1]
    assert 88 <= covered <= 99


def test_a_real_difference_is_found() -> None:
    random = torch.Generator().manual_seed(0)
    good = [drawn(0.9, random) for _ in range(3)]
    poor = [drawn(0.6, random) for _ in range(3)]
    assert difference(good, poor).verdict == "better"
    assert difference(poor, good).verdict == "worse"
    assert difference([scored(0.1, 0)], [scored(1.0, 1)]).verdict == "better"


def test_the_interval_is_that_of_the_mean_of_the_paired_differences() -> None:
    """The closed form for accuracy: 1.96 standard errors of the rows' differences."""
    random = torch.Generator().manual_seed(0)
    one, other = (torch.rand(1000, generator=random) < chance for chance in (0.8, 0.7))
    other = other | (one & (torch.rand(1000, generator=random) < 0.8))
    found = difference([classified(one)], [classified(other)], resamples=500)
    each = one.double() - other.double()
    half = 1.96 * float(each.std()) / math.sqrt(1000)
    assert found.mean == pytest.approx(float(each.mean()))
    assert found.interval is not None
    low, high = found.interval
    assert (high - low) / 2 == pytest.approx(half, rel=0.12)
    unpaired = 1.96 * math.sqrt(float(one.double().var() + other.double().var()) / 1000)
    assert (high - low) / 2 < 0.8 * unpaired


def test_swapping_the_sides_negates() -> None:
    one, other = [scored(0.3, 0), scored(0.4, 1)], [scored(0.5, 2), scored(0.5, 3)]
    there, back = difference(one, other), difference(other, one)
    assert there.mean == -back.mean
    assert there.by_seed == [-value for value in back.by_seed]
    assert there.interval is not None
    assert back.interval is not None
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))


def test_equal_predictions_differ_by_exactly_nothing() -> None:
    rows = [scored(0.3, 0), scored(0.4, 1)]
    found = difference(rows, [shuffled(each, 5) for each in rows])
    assert (found.mean, found.interval) == (0.0, (0.0, 0.0))
    assert found.verdict == "equal"
    assert found.rows_needed is None


def test_rows_are_paired_by_sentence_in_whatever_order() -> None:
    one, other = scored(0.3, 0), scored(0.5, 1)
    assert of_two([one], [other]) == of_two([shuffled(one, 2)], [shuffled(other, 3)])


def test_only_sentences_that_every_run_has_held_out_count() -> None:
    one, other = scored(0.3, 0), scored(0.5, 1)
    found = difference([one.of(one.keys[:150])], [other.of(other.keys[50:])])
    assert found == difference([one.of(one.keys[50:150])], [other.of(other.keys[50:150])])
    assert found.rows == 100


def test_what_cannot_be_paired_is_refused() -> None:
    one, other = scored(0.3, 0), scored(0.5, 1)
    with pytest.raises(DataError, match="nothing to pair"):
        difference([one.of(one.keys[:100])], [other.of(other.keys[100:])])
    wrong = HeldOutRows(task=SCORE, keys=one.keys, output=one.output, target=one.target.flip(0))
    with pytest.raises(DataError, match="different targets"):
        difference([one], [wrong])


def test_a_figure_is_the_mean_over_folds_and_seeds() -> None:
    """Two folds of two seeds, whose accuracies are 1, 0.5, 0.5 and 0."""
    every, half, none = (torch.arange(50) < count for count in (50, 25, 0))
    folds = [[classified(every), classified(half)], [classified(half, 50), classified(none, 50)]]
    found = compare({"one": folds, "other": folds}, resamples=20)
    assert found.metric == "accuracy"
    assert found.variants["one"].mean == 0.5
    assert found.variants["one"].by_seed == [0.75, 0.25]
    assert found.variants["one"].rows == 100


def test_each_draw_has_of_each_fold_as_many_rows_as_it_has() -> None:
    """Within a fold all rows are alike, so that a draw can move a mean only by leaving one out."""
    right, wrong = torch.ones(80, dtype=torch.bool), torch.zeros(80, dtype=torch.bool)
    one = [[classified(right[:2])], [classified(wrong, 2)]]
    other = [[classified(wrong[:2])], [classified(wrong, 2)]]
    found = compare({"one": one, "other": other}, resamples=100)
    assert found.variants["one"].interval == (0.5, 0.5)
    assert found.differences["other"].interval == (0.5, 0.5)


def test_few_rows_have_no_interval() -> None:
    one, other = scored(0.3, 0), scored(0.5, 1)
    found = difference([one.of(one.keys[:49])], [other])
    assert found.interval is None
    assert found.verdict == "too few rows"
    assert found.rows_needed is None


@pytest.mark.parametrize(
    ("mean", "by_seed", "interval", "verdict"),
    [
        (0.1, [0.1, 0.1], (0.05, 0.15), "better"),
        (-0.1, [-0.1, -0.1], (-0.15, -0.05), "worse"),
        (0.1, [0.3, -0.1], (0.05, 0.15), "seeds disagree"),
        (0.0, [0.1, -0.1], (-0.009, 0.009), "equal"),
        (0.02, [0.02, 0.02], (-0.1, 0.14), "cannot tell"),
        (-0.02, [-0.02, -0.02], (-0.1, 0.005), "cannot tell"),
        (0.02, [0.02, 0.02], (-0.005, 0.1), "cannot tell"),
    ],
)
def test_the_verdict(
    mean: float, by_seed: list[float], interval: tuple[float, float], verdict: str
) -> None:
    assert Estimate(mean=mean, by_seed=by_seed, interval=interval, rows=100).verdict == verdict


@pytest.mark.slow
def test_rows_needed_are_those_that_find_the_difference_four_times_of_five() -> None:
    """Accuracies of 0.8 and 0.7: with so many rows, intervals of other draws leave out 0."""
    random = torch.Generator().manual_seed(0)

    def draw(rows: int) -> Estimate:
        one, other = drawn(0.8, random, rows), drawn(0.7, random, rows)
        return difference([one], [other], resamples=100)

    estimate = Estimate(mean=0.1, by_seed=[0.1], interval=(-0.02, 0.22), rows=100)
    # 1.96 standard errors of two independent shares are 0.12 for 100 rows
    assert estimate.rows_needed == pytest.approx(100 * (1.2 * 2.8 / 1.96) ** 2, abs=1)
    needed = estimate.rows_needed
    assert needed is not None
    found = sum(draw(needed).verdict == "better" for _ in range(50))
    assert 33 <= found <= 48


def test_a_key_is_the_text_without_telling_it() -> None:
    keys = row_keys(["A fine film.", "A  fine film. ", "A bore.", "A fine film."])
    assert len(set(keys)) == 4
    assert [key.partition("-")[0] for key in keys].count(keys[0].partition("-")[0]) == 3
    assert keys[2] == row_keys(["A bore."])[0]
    assert not any("fine" in key for key in keys)


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.pt"
    written = {"score": scored(0.1, 0), "label": classified(torch.tensor([True, False]))}
    save_rows(path, written)
    read = load_rows(path)
    for name, rows in written.items():
        assert (read[name].task, read[name].keys) == (rows.task, rows.keys)
        assert torch.equal(read[name].output, rows.output)
        assert torch.equal(read[name].target, rows.target)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StorageError, match=r"rows\.pt: not a readable file of rows"):
        load_rows(path)
