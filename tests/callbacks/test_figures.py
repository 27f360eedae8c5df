from collections.abc import Callable

import numpy as np
import pytest

from lit_mtl.callbacks import figures
from lit_mtl.callbacks.figures import MOST_CLASSES, Image

LABELS = ["$_{", "影评", "<b>a\nb</b>", "a" * 500, "\\frac", ""]

ERRORS = np.array([-1.0, 0.0, 2.0], dtype=np.float32)


def confusion(counts: list[list[int]]) -> Image:
    return figures.confusion_matrix(counts, [f"label {n}" for n in range(len(counts))], "title")


def scatter(*predicted: float) -> Image:
    true = np.arange(len(predicted), dtype=np.float32)
    return figures.predicted_against_true(
        np.array(predicted, dtype=np.float32), true, correlation=None, title="title"
    )


def groups(*, signed: bool = False, **errors: float) -> Image:
    parts = {"source": {name: np.array([value], np.float32) for name, value in errors.items()}}
    return figures.errors_by_group(parts, signed=signed, label="error", title="title")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: confusion([[5, 0], [0, 5]]), lambda: confusion([[0, 5], [5, 0]])),
        (lambda: scatter(0, 1, 2), lambda: scatter(2, 1, 0)),
        (lambda: groups(a=0.0, b=1.0), lambda: groups(a=1.0, b=0.0)),
        (lambda: groups(signed=True, a=-1.0, b=1.0), lambda: groups(signed=True, a=1.0, b=-1.0)),
        (
            lambda: figures.reliability_diagram({"a": [(0.2, 0.2, 9), (0.8, 0.8, 9)]}, "title"),
            lambda: figures.reliability_diagram({"a": [(0.2, 0.8, 9), (0.8, 0.2, 9)]}, "title"),
        ),
    ],
    ids=["confusion", "scatter", "shares", "signed", "reliability"],
)
def test_a_figure_shows_its_numbers(one: Callable[[], Image], other: Callable[[], Image]) -> None:
    image = one()
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    assert np.array_equal(image, one()), "the same numbers are drawn the same"
    assert not np.array_equal(image, other())
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 10


def test_scores_that_are_all_predicted_too_high_are_drawn() -> None:
    high, low = groups(signed=True, a=2.0, b=8.0), groups(signed=True, a=8.0, b=2.0)
    assert not np.array_equal(high, low)


def test_labels_are_never_read_as_formulas() -> None:
    table = np.eye(len(LABELS), dtype=int).tolist()
    assert figures.confusion_matrix(table, LABELS, "$_{").any()
    parts = {"$_{": dict.fromkeys(LABELS, ERRORS)}
    assert figures.errors_by_group(parts, signed=True, label="$_{", title="$_{").any()


def test_a_figure_of_a_thousand_classes_is_bounded() -> None:
    counts = np.ones((1000, 1000), dtype=int).tolist()
    image = confusion(counts)
    few = np.ones((MOST_CLASSES, MOST_CLASSES), dtype=int).tolist()
    assert image.shape == confusion(few).shape
    assert max(image.shape) <= 700


def test_of_many_classes_the_most_confused_ones_are_drawn() -> None:
    right = np.eye(MOST_CLASSES + 10, dtype=int)
    wrong = right.copy()
    wrong[-1, -2] = 9
    assert not np.array_equal(confusion(right.tolist()), confusion(wrong.tolist()))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_single_row_has_figures(value: float) -> None:
    assert scatter(value).any()
    assert groups(a=value).any()
    assert confusion([[1, 0], [0, 0]]).any()
    assert figures.reliability_diagram({"a": [(value, value, 1)]}, "title").any()


def test_differences_are_no_shares_also_where_they_would_pass_for_some() -> None:
    parts = {"source": {"a": np.array([0.1, 0.2, 0.3], np.float32)}}
    one, other = (
        figures.errors_by_group(parts, signed=signed, label="error", title="title")
        for signed in (True, False)
    )
    assert one.shape == other.shape
    assert (one != other).any()
