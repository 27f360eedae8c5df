import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lit_mtl.commands.compare_report import plot, report, table, verdicts
from lit_mtl.paired import Comparison, Estimate


def estimate(mean: float, reach: float | None = 0.02) -> Estimate:
    interval = None if reach is None else (mean - reach, mean + reach)
    return Estimate(mean=mean, by_seed=[mean - 0.01, mean + 0.01], interval=interval, rows=400)


def found(alone: Estimate, frozen: Estimate) -> dict[str, Comparison]:
    variants = {"together": estimate(0.8), "alone": estimate(0.75), "frozen": estimate(0.7)}
    return {
        "$_{": Comparison(
            metric="pearson", variants=variants, differences={"alone": alone, "frozen": frozen}
        )
    }


@pytest.mark.parametrize(
    ("alone", "frozen", "said"),
    [
        (estimate(0.05), estimate(0.1), "sharing helps; training pays"),
        (
            estimate(-0.05),
            estimate(-0.1),
            "sharing hurts; training hurts: the frozen encoder is better",
        ),
        (
            estimate(0.0, 0.005),
            estimate(0.0, 0.005),
            "no difference (within 0.01); the frozen encoder is as good (within 0.01)",
        ),
    ],
)
def test_the_verdict_in_words(alone: Estimate, frozen: Estimate, said: str) -> None:
    assert list(verdicts(found(alone, frozen))) == [f"$_{{: {said}"]


def test_a_verdict_by_one_seed_says_so() -> None:
    one = Estimate(mean=0.1, by_seed=[0.1], interval=(0.05, 0.15), rows=400)
    (line,) = verdicts(found(one, estimate(0.1)))
    assert line == "$_{: sharing helps, by one seed; training pays"


def test_where_nothing_can_be_told_it_says_what_would_tell() -> None:
    (line,) = verdicts(found(estimate(0.01, 0.1), estimate(0.0001, 0.1)))
    assert (
        "too wide to tell (+0.0100 seen on 400 test rows; a difference of this size takes" in line
    )
    assert "about 81,633" in line
    assert "more than 1,000,000" in line
    (line,) = verdicts(found(estimate(0.1, None), estimate(0.1)))
    assert "cannot tell: fewer than 50 test rows; training pays" in line


def test_the_table_has_both_figures_and_the_interval_of_their_difference() -> None:
    lines = table(found(estimate(0.05), estimate(0.1, None))).splitlines()
    assert lines[2].split()[:7] == ["$_{", "alone", "pearson", "400", "0.8000", "0.7500", "+0.0500"]
    assert "+0.0300 to +0.0700" in lines[2]
    assert "+0.0400 to +0.0600" in lines[2]
    assert lines[3].split()[7:9] == ["-", "+0.0900"]


def test_three_files_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = found(estimate(0.05), estimate(0.1, None))
    report(comparison, seeds=[0, 3], folds=2, runs=[], folder=tmp_path)
    content = json.loads((tmp_path / "compare.json").read_text())
    assert content["seeds"] == [0, 3]
    against = content["tasks"]["$_{"]["differences"]
    assert against["alone"]["says"] == "sharing helps"
    assert against["alone"]["interval"] == pytest.approx([0.03, 0.07])
    assert against["frozen"]["interval"] is None
    page = (tmp_path / "compare.md").read_text()
    assert "Seeds 0, 3; 2 folds" in page
    assert "| alone" in page
    assert (tmp_path / "compare.png").read_bytes() == plot(comparison)
    printed = capsys.readouterr().out
    assert "sharing helps" in printed
    assert str(tmp_path / "compare.png") in printed


def test_the_plot_shows_its_numbers(tmp_path: Path) -> None:
    def drawn(comparison: dict[str, Comparison]) -> np.ndarray:
        path = tmp_path / "plot.png"
        path.write_bytes(plot(comparison))
        return np.asarray(imread(path))

    one = drawn(found(estimate(0.05), estimate(0.1)))
    assert np.array_equal(one, drawn(found(estimate(0.05), estimate(0.1))))
    assert not np.array_equal(one, drawn(found(estimate(-0.05), estimate(0.1))))
    assert not np.array_equal(one, drawn(found(estimate(0.05, 0.01), estimate(0.1))))
