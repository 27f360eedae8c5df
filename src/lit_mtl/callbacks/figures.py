"""The figures of a validation, drawn into arrays of pixels without a display.

Names and labels are the user's own: they are clipped, and never read as formulas.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lit_mtl.callbacks.split_rows import wilson
from lit_mtl.confusion import left_out, most_confused

Image = NDArray[np.uint8]
"""Height, width, and red, green and blue."""

Point = tuple[float, float, int]
"""Stated and observed frequency, and the number of statements."""

MOST_CLASSES = 40
"""Classes of a confusion matrix: of more only the most confused ones are drawn."""

_COUNTED = 12
"""Up to so many classes the matrix has its numbers written in it."""

_CLIP = 18
_PIXELS = 100
_BLUE, _ORANGE = "#1f77b4", "#e6550d"


def confusion_matrix(counts: Sequence[Sequence[int]], names: Sequence[str], title: str) -> Image:
    """Share of each true class (row) that is predicted as each class (column), with the counts.

    The share is one of all rows of the class, also where not all classes are drawn.
    """
    chosen = most_confused(counts, most=MOST_CLASSES)
    every = np.array(counts, dtype=np.float64)
    table = every[np.ix_(chosen, chosen)]
    share = table / np.maximum(every.sum(axis=1)[chosen, None], 1)
    shown = [clipped(names[place]) for place in chosen]
    title = "\n".join(filter(None, (title, left_out(len(chosen), len(names)))))
    side = min(7.0, 3.2 + 0.3 * len(shown))

    def draw(axes: Axes) -> None:
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(shown)), shown, rotation=90, parse_math=False)
        axes.set_yticks(range(len(shown)), shown, parse_math=False)
        axes.set(xlabel="predicted", ylabel="true")
        for row, column in np.ndindex(share.shape) if len(shown) <= _COUNTED else ():
            color = "white" if share[row, column] > 0.5 else "black"
            number = f"{table[row, column]:.0f}\n{share[row, column]:.0%}"
            axes.text(column, row, number, ha="center", va="center", color=color, fontsize=8)

    return _image([draw], title, width=side, height=side)


def reliability_diagram(curves: Mapping[str, Sequence[Point]], title: str) -> Image:
    """Observed over stated frequency, with the 95 % interval of each point; the diagonal is right."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
        for (name, points), color in zip(curves.items(), (_ORANGE, _BLUE), strict=False):
            stated, observed, count = (np.array(column) for column in zip(*points, strict=True))
            ends = [wilson(*point[1:]) for point in points]
            reach = np.abs(np.array(ends).T - observed)
            axes.errorbar(
                stated, observed, yerr=reach, label=name, color=color, marker="o", capsize=2
            )
            if count.min() < count.max():
                share = count / count.max() * 0.12
                axes.bar(stated, share, width=0.03, color=color, alpha=0.25)
        axes.set(xlabel="stated", ylabel="observed", xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(loc="upper left", fontsize=8)

    return _image([draw], title, width=4.4, height=4.2)


def predicted_against_true(
    predicted: NDArray[np.float32],
    true: NDArray[np.float32],
    *,
    correlation: tuple[float, float, float] | None,
    title: str,
) -> Image:
    """A point a row, and the diagonal on which predictions are right.

    Args:
        predicted: predicted scores, at least one.
        true: true scores.
        correlation: Pearson's r of all rows with both ends of its interval.
        title: of the figure.
    """
    low, high = min(predicted.min(), true.min()), max(predicted.max(), true.max())

    def draw(axes: Axes) -> None:
        axes.plot([low, high], [low, high], color="grey", linestyle="--", linewidth=1)
        axes.scatter(true, predicted, s=9, alpha=0.4, color=_BLUE, linewidths=0)
        axes.set(xlabel="true score", ylabel="predicted score")

    said = "r not defined"
    if correlation is not None:
        r, least, most = correlation
        said = f"r = {r:.3f} ({least:.3f} to {most:.3f})"
    return _image([draw], f"{title}\n{said}", width=4.4, height=4.4)


def errors_by_group(
    parts: Mapping[str, Mapping[str, NDArray[np.float32]]], *, signed: bool, label: str, title: str
) -> Image:
    """Errors by what rows have in common: signed ones as boxes, shares as bars with intervals.

    Args:
        parts: what the rows are grouped by, to group to the errors of its rows, at least one.
        signed: whether errors are differences; else they are shares, in [0, 1].
        label: what an error is.
        title: of the figure.
    """
    drawn = _boxes if signed else _bars
    widest = max(map(len, parts.values()))

    def painter(name: str, groups: Mapping[str, NDArray[np.float32]]) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            drawn(axes, list(groups.values()))
            names = [f"{clipped(group)}\nn={len(errors)}" for group, errors in groups.items()]
            places = range(1, len(names) + 1)
            axes.set_xticks(
                places, names, fontsize=7, parse_math=False, rotation=30 if widest > 5 else 0
            )
            axes.set(xlabel=name, ylabel=label)

        return draw

    painters = [painter(name, groups) for name, groups in parts.items()]
    return _image(painters, title, width=4.2 * len(parts), height=3.8)


def clipped(name: str) -> str:
    """A name on one line that a figure has room for."""
    line = " ".join(name.split())
    return line if len(line) <= _CLIP else f"{line[: _CLIP - 1]}…"


def _boxes(axes: Axes, groups: Sequence[NDArray[np.float32]]) -> None:
    axes.axhline(0, color="grey", linestyle="--", linewidth=1)
    axes.boxplot(groups, showfliers=False, medianprops={"color": _ORANGE})


def _bars(axes: Axes, groups: Sequence[NDArray[np.float32]]) -> None:
    means = np.array([errors.mean() for errors in groups])
    ends = [wilson(float(mean), len(errors)) for mean, errors in zip(means, groups, strict=True)]
    axes.bar(range(1, len(groups) + 1), means, color=_BLUE, alpha=0.7)
    reach = np.abs(np.array(ends).T - means)
    axes.errorbar(
        range(1, len(groups) + 1), means, yerr=reach, color="black", linestyle="", capsize=2
    )


def _image(
    painters: Sequence[Callable[[Axes], Any]], title: str, *, width: float, height: float
) -> Image:
    """Draw one part beside the other; without pyplot, which would keep every figure."""
    figure = Figure(figsize=(width, height), dpi=_PIXELS, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9, parse_math=False)
    for place, paint in enumerate(painters):
        paint(figure.add_subplot(1, len(painters), place + 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of characters that the font does not have
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
