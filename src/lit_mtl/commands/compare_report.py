"""What `compare` has found: a table, a plain verdict for each task, and a plot."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tabulate import tabulate

from lit_mtl import __version__
from lit_mtl.commands.compare_runs import ALONE, FROZEN, TOGETHER, Run
from lit_mtl.evaluation import LEAST_ROWS
from lit_mtl.files import write_atomically
from lit_mtl.paired import NEGLIGIBLE, Comparison, Estimate
from lit_mtl.verbosity import Verbosity, verbosity

_QUESTIONS = {
    ALONE: {
        "better": "sharing helps",
        "worse": "sharing hurts",
        "equal": f"no difference (within {NEGLIGIBLE})",
    },
    FROZEN: {
        "better": "training pays",
        "worse": "training hurts: the frozen encoder is better",
        "equal": f"the frozen encoder is as good (within {NEGLIGIBLE})",
    },
}
"""What `together` is compared with, and the answer in words."""

_MANY = 1_000_000
_COLORS = {ALONE: "#1f77b4", FROZEN: "#e6550d"}
_HEADERS = [
    "task",
    "against",
    "metric",
    "rows",
    TOGETHER,
    "other",
    "difference",
    "95 % interval",
    "seeds",
    "verdict",
]


def report(
    found: Mapping[str, Comparison],
    *,
    seeds: Sequence[int],
    folds: int,
    runs: Sequence[Run],
    folder: Path,
) -> None:
    """Print the table, and write it as `compare.md` beside `compare.json` and `compare.png`.

    Args:
        found: the comparison of each task.
        seeds: the seeds.
        folds: number of folds.
        runs: what was compared.
        folder: where the files go.
    """
    content = {
        "lit_mtl": __version__,
        "seeds": list(seeds),
        "folds": folds,
        "tasks": {task: _as_json(each) for task, each in found.items()},
        "runs": {run.folder.name: {"seconds": run.seconds, "tasks": run.tasks} for run in runs},
    }
    files = {
        "compare.json": (json.dumps(content, indent=2, allow_nan=False) + "\n").encode(),
        "compare.md": _page(found, seeds=seeds, folds=folds).encode(),
        "compare.png": plot(found),
    }
    for name, data in files.items():
        write_atomically(folder / name, data)
    if verbosity() is not Verbosity.QUIET:
        print(f"\n{table(found)}\n")
    for line in verdicts(found):
        print(line)
    print(f"written:    {', '.join(str(folder / name) for name in files)}")


def table(found: Mapping[str, Comparison], style: str = "simple") -> str:
    """Two rows a task: all tasks together against this one alone, and against the frozen encoder."""
    rows = []
    for task, each in found.items():
        for against, difference in each.differences.items():
            figures = (each.variants[TOGETHER].mean, each.variants[against].mean)
            rows.append(
                [
                    task,
                    against,
                    each.metric,
                    difference.rows,
                    *(f"{figure:.4f}" for figure in figures),
                    f"{difference.mean:+.4f}",
                    _interval(difference),
                    f"{min(difference.by_seed):+.4f} to {max(difference.by_seed):+.4f}",
                    _answer(against, difference),
                ]
            )
    return tabulate(rows, _HEADERS, tablefmt=style, disable_numparse=True)


def verdicts(found: Mapping[str, Comparison]) -> Iterator[str]:
    """A sentence or two for each task, with what would have to be done where nothing can be told."""
    for task, each in found.items():
        parts = [
            f"{_answer(against, difference)}{_more(difference)}"
            for against, difference in each.differences.items()
        ]
        yield f"{task}: {'; '.join(parts)}"


def _answer(against: str, difference: Estimate) -> str:
    verdict = difference.verdict
    if verdict in ("better", "worse", "equal"):
        one_seed = ", by one seed" * (len(difference.by_seed) == 1)
        return _QUESTIONS[against][verdict] + one_seed
    return {
        "too few rows": f"cannot tell: fewer than {LEAST_ROWS} test rows",
        "seeds disagree": "no difference seen: the seeds disagree",
    }.get(verdict, "no difference seen: the interval is too wide to tell")


def _more(difference: Estimate) -> str:
    """How many rows would tell, where these do not."""
    needed = difference.rows_needed
    if difference.verdict != "cannot tell" or needed is None:
        return ""
    said = f"about {needed:,}" if needed <= _MANY else f"more than {_MANY:,}"
    return (
        f" ({difference.mean:+.4f} seen on {difference.rows:,} test rows; a difference of this size "
        f"takes {said})"
    )


def _interval(difference: Estimate) -> str:
    if difference.interval is None:
        return "-"
    return "{:+.4f} to {:+.4f}".format(*difference.interval)


def _page(found: Mapping[str, Comparison], *, seeds: Sequence[int], folds: int) -> str:
    """The table as a page in Markdown."""
    said = "\n".join(f"- {line}" for line in verdicts(found))
    split = f"{folds} folds" if folds > 1 else "one split"
    return (
        f"# Does sharing help?\n\nSeeds {', '.join(map(str, seeds))}; {split}. A difference is "
        f"`{TOGETHER}` less the other.\n\n{table(found, 'github')}\n\n{said}\n\n"
        "![Differences with their intervals](compare.png)\n"
    )


def _as_json(found: Comparison) -> dict[str, Any]:
    return {
        "metric": found.metric,
        "variants": {name: asdict(each) for name, each in found.variants.items()},
        "differences": {
            name: {
                **asdict(each),
                "verdict": each.verdict,
                "says": _answer(name, each),
                "rows_needed": each.rows_needed,
            }
            for name, each in found.differences.items()
        },
    }


def plot(found: Mapping[str, Comparison]) -> bytes:
    """The differences with their intervals, and a dot a seed, as PNG. Right of 0, `together` is better."""
    lines = [
        (f"{' '.join(task.split())[:30]} ({each.metric})\nagainst {against}", against, difference)
        for task, each in found.items()
        for against, difference in each.differences.items()
    ]
    figure = Figure(figsize=(8, 1.2 + 0.55 * len(lines)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axvspan(-NEGLIGIBLE, NEGLIGIBLE, color="0.93")
    axes.axvline(0, color="grey", linestyle="--", linewidth=1)
    for place, (_, against, difference) in enumerate(lines):
        color = _COLORS[against]
        if difference.interval is not None:
            axes.plot(difference.interval, (place, place), color=color, linewidth=2)
        axes.plot(difference.mean, place, "s", color=color)
        dots = [place + 0.25] * len(difference.by_seed)
        axes.plot(difference.by_seed, dots, ".", color=color, alpha=0.6)
    axes.set_yticks(range(len(lines)), [name for name, _, _ in lines], parse_math=False, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"{TOGETHER} less the other: mean with 95 % interval, a dot a seed")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
