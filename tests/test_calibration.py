import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lit_mtl.calibration import LEAST_ROWS, calibrate, checked_across, read_calibration
from lit_mtl.commands.results import calibration_table
from lit_mtl.errors import StorageError
from lit_mtl.tasks import (
    KINDS,
    Classification,
    Multilabel,
    Ordinal,
    RatingDistribution,
    Regression,
    RegressionWithSpread,
    Task,
)

TASKS: dict[str, Task] = {
    "tone": Classification(labels=("a", "b")),
    "score": Regression(low=-50, high=50, center=0, scale=1),
    "aspects": Multilabel(labels=("a", "b", "c")),
    "stars": Ordinal(low=1, high=4),
    "ratings": RegressionWithSpread(low=-50, high=50, center=0, scale=1),
    "votes": RatingDistribution(low=1, high=9),
}


def overconfident(rows: int, seed: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """Logits three times as large as the truth has them, and scores with heavy-tailed errors.

    The spread is half of what the mean of three ratings has.
    """
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, 2, generator=generator)
    label = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)
    score = torch.randn(rows, 1, generator=generator)
    error = torch.empty(rows).cauchy_(generator=generator).clamp(-45, 45)
    found = {"tone": (3 * logits, label), "score": (score, score.squeeze(1) + error)}
    aspects = torch.randn(rows, 3, generator=generator)
    found["aspects"] = (3 * aspects, torch.bernoulli(aspects.sigmoid(), generator=generator))
    stars = 3 * torch.randn(rows, 3, generator=generator)
    true = Ordinal(low=1, high=4, temperature=3.0).predict(stars)
    found["stars"] = (stars, 1 + torch.multinomial(true, 1, generator=generator).squeeze(1))
    ratings = torch.randn(rows, 2, generator=generator)
    _, spread = TASKS["ratings"].predict(ratings).unbind(dim=-1)
    mean = ratings[:, 0] + 2 * spread * torch.randn(rows, generator=generator)
    found["ratings"] = (ratings, torch.stack([mean, mean * 0 + 1, mean * 0 + 3], dim=-1))
    votes = torch.randn(rows, 9, generator=generator)
    drawn = torch.multinomial(votes.softmax(-1), 3, replacement=True, generator=generator)
    found["votes"] = (votes, torch.nn.functional.one_hot(drawn, 9).sum(dim=1).float())
    return found


def test_what_is_stated_comes_true_on_rows_that_were_not_fitted() -> None:
    found = calibrate(TASKS, overconfident(2000), overconfident(2000, seed=1))
    for split in ("val", "test"):
        for name in ("tone", "aspects", "stars"):
            assert found.report[name][split]["before"]["ece"] > 0.1
            assert found.report[name][split]["after"]["ece"] < 0.05
        score, ratings = found.report["score"][split], found.report["ratings"][split]
        # the interval of normal errors is too wide for these, and the fitted one is not
        assert score["before"]["observed"] > 0.92
        assert score["after"]["observed"] == pytest.approx(0.9, abs=0.02)
        # and the one of the predicted spread is too narrow: 1.64 / 2 deviations
        assert ratings["before"]["observed"] == pytest.approx(0.59, abs=0.04)
        assert ratings["after"]["observed"] == pytest.approx(0.9, abs=0.02)
        # that of a single vote is too wide for the mean of three
        votes = found.report["votes"][split]
        assert votes["before"]["observed"] > 0.97
        assert votes["after"]["observed"] == pytest.approx(0.9, abs=0.03)
    for name in ("tone", "aspects", "stars"):
        assert found.tasks[name].spec()["temperature"] == pytest.approx(3.0, rel=0.15)
    assert found.tasks["ratings"].spec()["radius"] == pytest.approx(2 * 1.645, rel=0.1)
    assert {task.kind for task in TASKS.values()} == set(KINDS)
    assert {each["note"] for each in found.report.values()} == {None}


def test_the_check_on_validation_does_not_see_its_own_rows() -> None:
    """With 60 rows an interval fitted and checked on the same rows always covers 55 of them."""
    shares = []
    for seed in range(20):
        rows = overconfident(60, seed)
        shares.append(calibrate(TASKS, rows).report["score"]["val"]["after"]["observed"])
    assert len(set(shares)) > 1
    assert sum(shares) / 20 == pytest.approx(0.9, abs=0.04)


def test_what_four_fifths_are_too_few_for_is_not_claimed_of_the_fifth() -> None:
    """110 rows fix an interval of 99 %, and 88 of them do not."""
    task = Regression(low=-9, high=9, coverage=0.99)
    random = torch.Generator().manual_seed(0)
    output = torch.randn(110, 1, generator=random)
    target = output[:, 0] + torch.randn(110, generator=random)
    assert task.calibrate(output, target) != task
    assert checked_across(task, output, target) is None


def test_each_source_of_the_test_split_is_measured_by_itself() -> None:
    test = overconfident(900, seed=1)
    sources = ["far" if row % 3 == 0 else "near" for row in range(900)]
    far = torch.tensor([source == "far" for source in sources])
    output, target = test["score"]
    test["score"] = (output, torch.where(far, target + 30 * target.sign(), target))
    found = calibrate(TASKS, overconfident(2000), test, test_sources=dict.fromkeys(TASKS, sources))
    parts = found.report["score"]["test_by_source"]
    whole = found.report["score"]["test"]["after"]
    assert parts["far"]["observed"] < 0.5 < 0.85 < parts["near"]["observed"]
    mean = (parts["far"]["observed"] + 2 * parts["near"]["observed"]) / 3
    assert mean == pytest.approx(whole["observed"])
    table = calibration_table(found)
    assert "score, test, far" in table
    assert "score, test, near" in table
    one = calibrate(
        TASKS, overconfident(2000), test, test_sources=dict.fromkeys(TASKS, ["a"] * 900)
    )
    assert not any("test_by_source" in report for report in one.report.values())


def test_decisions_stay_and_loss_does_not_know_the_temperature() -> None:
    output, target = overconfident(500)["tone"]
    fitted = TASKS["tone"].calibrate(output, target)
    assert fitted.metrics(output, target) == TASKS["tone"].metrics(output, target)
    assert torch.equal(fitted.row_loss(output, target), TASKS["tone"].row_loss(output, target))


def test_too_few_or_useless_rows_calibrate_nothing_and_say_so() -> None:
    few = calibrate(TASKS, overconfident(LEAST_ROWS - 1))
    assert few.tasks == TASKS
    assert few.report["tone"]["note"] == "not calibrated: 49 labelled validation rows, 50 needed"
    assert few.report["tone"]["val"]["after"] is None
    output, _ = overconfident(100)["tone"]
    one_class = {**overconfident(100), "tone": (output, torch.zeros(100, dtype=torch.int64))}
    found = calibrate(TASKS, one_class)
    assert found.tasks["tone"] == TASKS["tone"]
    assert "nothing to fit" in calibration_table(found)
    none = {name: (output[:0], target[:0]) for name, (output, target) in one_class.items()}
    assert calibrate(TASKS, none, none).report["score"]["val"] == {"before": None, "after": None}


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) is None
    found = calibrate(TASKS, overconfident(200), checkpoint="abc")
    found.save(tmp_path)
    assert read_calibration(tmp_path) == found
    for content in ("{", "[]", json.dumps({"tasks": {}})):
        (tmp_path / "calibration.json").write_text(content)
        with pytest.raises(StorageError, match=r"calibration\.json: not a readable"):
            read_calibration(tmp_path)


@pytest.mark.parametrize("name", TASKS)
def test_outputs_that_are_no_numbers_are_not_calibrated(name: str) -> None:
    output, target = overconfident(200)[name]
    broken = output.clone()
    broken[3] = torch.nan
    for validation, test in ((broken, output), (output, broken)):
        found = calibrate({name: TASKS[name]}, {name: (validation, target)}, {name: (test, target)})
        json.dumps(found.report, allow_nan=False)
        note = found.notes()
        assert note == (
            [f"{name}: not calibrated: some outputs are no numbers"] * (validation is broken)
        )
        assert (found.report[name]["test"]["before"] is None) == (test is broken)
        assert calibration_table(found)


def test_all_rows_are_checked_where_a_part_of_the_folds_fixes_no_temperature() -> None:
    """A temperature changes no label: the share that is right is that of all rows."""
    rows = 60
    target = torch.arange(rows) % 2
    wrong = target.clone()
    wrong[5] = 1 - wrong[5]  # the one error: without its fifth there is none
    output = 4.0 * torch.nn.functional.one_hot(wrong, 2)
    found = calibrate({"tone": TASKS["tone"]}, {"tone": (output, target)}).report["tone"]["val"]
    assert found["before"]["observed"] == found["after"]["observed"] == pytest.approx(59 / 60)
