"""Quality on the four rated corpora: one encoder for all of them beside others, on the same test sentences.

    python benchmarks/human_ratings.py [--sides NAME ...] [--seeds 0 1 2] [--folds 5]    # hours; resumable
    python benchmarks/human_ratings.py --table               # of what is recorded so far

A side is one way to get a score and a label for each sentence; most train MiniLM for three epochs. `together` is
one encoder with eight heads, for each corpus a classification and a regression, and `together + ...` the same with
other settings: `configs/human_ratings.yaml` is the one with rating distributions. `Trainer, each alone` is
Hugging Face's Trainer with the best settings of `training_sides.py`: a model with two heads for each corpus, so
that in all it sees as many sentences as `together`. `... + base share` is the model of another side with some of
the base's weights in its backbone, as `export --base_share` makes it. `frozen, linear` fits heads to what the backbone gives
before any training. `VADER` needs `pip install vaderSentiment==3.3.2`. All have the split of the config, whole documents on one side, or
with `--folds` each of so many parts in turn as the test split. A line a side, seed, fold and corpus is kept in
benchmarks/results/human_ratings.jsonl, with what is predicted for each test sentence; recorded ones are not repeated. Runs on
another device or with other folds have tables of their own. Differences are paired: sentences are drawn with
replacement, for all seeds at once.
"""

import argparse
import json
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import binom
from tabulate import tabulate

from human_ratings_sides import (
    FROZEN,
    INGREDIENTS,
    LONGER,
    PROTECTED,
    RECIPE,
    ROOT,
    SHARED,
    SIDES,
    TOGETHER,
    TOGETHER_WITH,
    TRAINER,
    TRAINER_LONGER,
    UNSEEDED,
    VADER,
    Rated,
    settings,
)
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.evaluation import bootstrap
from lit_mtl.reliability import calibration_error_by_chance, expected_calibration_error

RESULTS = ROOT / "benchmarks" / "results" / "human_ratings.jsonl"

Run = dict[str, Any]

Side = dict[str, list[Run]]
"""The runs of a side by corpus, one a seed and fold."""

People = dict[str, dict[int, Run]]
"""What people say, by corpus and fold."""


def recorded(path: Path) -> list[Run]:
    """What is on record of the config as it is now."""
    runs = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [run for run in runs if settings().items() <= run.items()]


def setting_of(options: argparse.Namespace) -> dict[str, Any]:
    """What runs of one table share beside the config."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"device": device, "folds": options.folds}


def measure(options: argparse.Namespace) -> None:
    """Run what is not on record yet."""
    for fold in range(options.folds):
        _measure_fold(options, fold)


def _measure_fold(options: argparse.Namespace, fold: int) -> None:
    rated: Rated | None = None
    options.fold = fold
    split = [f"--data.folds={options.folds}", f"--data.fold={fold}"] if options.folds > 1 else []
    wanted = [("people", 0)]
    for seed in options.seeds:
        wanted += [(side, seed) for side in options.sides if seed == 0 or side not in UNSEEDED]
    for side, seed in wanted:
        key = {"side": side, "seed": seed, "fold": fold, **setting_of(options), **settings()}
        if any(key.items() <= run.items() for run in recorded(options.record)):
            continue
        rated = rated or Rated([*options.fit, *split])
        options.side, options.split = side, split
        found = rated.targets() if side == "people" else SIDES[side](rated, options, seed)
        with options.record.open("a", encoding="utf-8") as file:
            for corpus, values in found.items():
                line = {**key, "commit": _commit(), "corpus": corpus, **values}
                file.write(json.dumps(line) + "\n")


def _commit() -> str | None:
    """The code that a run is of: other code may draw other random numbers for the same seed."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def tables(runs: Sequence[Run]) -> str:
    """The tables of each device and number of folds, with a title if there are several."""
    settings = list(dict.fromkeys((run["device"], run["folds"]) for run in runs))
    names = list(dict.fromkeys(run["corpus"] for run in runs))
    parts = []
    for device, folds in settings:
        own = [run for run in runs if (run["device"], run["folds"]) == (device, folds)]
        title = f"{device}, " + (f"{folds} folds" if folds > 1 else "the config's own split")
        parts.append(f"{title}:\n\n{table(own, names)}" if len(settings) > 1 else table(own, names))
    return "\n\n".join(parts)


def _people(runs: Sequence[Run]) -> People:
    found: People = {}
    for run in runs:
        if run["side"] == "people":
            found.setdefault(run["corpus"], {})[run["fold"]] = run
    return found


def table(runs: Sequence[Run], names: Sequence[str]) -> str:
    """Sides, their differences, what each ingredient gives, and the calibration, of one device and split."""
    people = _people(runs)
    of: dict[str, Side] = {}
    for side in SIDES:
        own = [run for run in runs if run["side"] == side]
        if own:
            of[side] = {name: [run for run in own if run["corpus"] == name] for name in names}
    parts_of = {*TOGETHER_WITH, *SHARED} - {TOGETHER, RECIPE, *LONGER}
    shown = [side for side in of if side not in parts_of]
    rows = [[side, *_figures(of[side], people)] for side in shown]
    rows += [
        [kind, "", *(f"{fmean(run[kind] for run in people[name].values()):.3f}" for name in names)]
        for kind in ("one person", "ceiling")
    ]
    headers = ["side", "seeds", *(f"{name}: r (accuracy)" for name in names)]
    parts = [tabulate(rows, headers, disable_numparse=True)]
    compared = {
        TRAINER: [TOGETHER, RECIPE, TRAINER_LONGER],
        TRAINER_LONGER: [RECIPE, *LONGER],
        TOGETHER: list(INGREDIENTS)[1:],
        RECIPE: [*PROTECTED, *SHARED, *LONGER],
    }
    for against, others in compared.items():
        rows = []
        for side in (side for side in others if {side, against} <= set(of)):
            one, other = _of_the_same_seeds(of[side], of[against])
            cells = [_difference(one[name], other[name], people[name]) for name in names]
            # of the Trainer's no embedding was measured, and it was timed beside other programs
            costs = [_time(one, other)] if against in TOGETHER_WITH else []
            rows.append([side, str(_seeds(one)), *cells, *costs])
        if rows:
            headers = [f"r less that of `{against}`", "seeds", *names, "time"]
            parts.append(tabulate(rows, headers[: len(rows[0])], disable_numparse=True))
    rows = [[side, *_pairs(of[side])] for side in of if "pairs" in next(iter(of[side].values()))[0]]
    if rows:
        headers = ["rank correlation of pairs", "seeds", "before", "after", "aligned to the base"]
        parts.append(tabulate(rows, headers, disable_numparse=True))
    if RECIPE in of:
        headers = ["corpus", "ece before", "after", "by chance", "90 % intervals hold", "within"]
        rows = [_calibration(name, of[RECIPE][name], people[name]) for name in names]
        title = f"`{RECIPE}`, calibrated:"
        parts.append(f"{title}\n\n{tabulate(rows, headers, disable_numparse=True)}")
    return "\n\n".join(parts)


def _seeds(of: Side) -> int:
    return len({run["seed"] for run in next(iter(of.values()))})


def _figures(of: Side, people: People) -> list[str]:
    """Number of seeds; of each corpus r with its standard deviation over them, and the accuracy."""
    cells = []
    for name, runs in of.items():
        seeds = dict.fromkeys(run["seed"] for run in runs)
        r = [
            fmean(_pearson(run, people[name]) for run in runs if run["seed"] == seed)
            for seed in seeds
        ]
        right = [_accuracy(run, people[name]) for run in runs]
        spread = f" ± {np.std(r, ddof=1):.3f}" if len(r) > 1 else ""
        cells.append(f"{fmean(r):.3f}{spread} ({fmean(right):.3f})")
    return [str(_seeds(of)), *cells]


def _of_the_same_seeds(one: Side, other: Side) -> tuple[Side, Side]:
    """The runs of two sides on the seeds and folds that both have."""
    own, others = (
        {(run["seed"], run["fold"]) for run in next(iter(side.values()))} for side in (one, other)
    )
    both = [
        {
            name: [run for run in runs if (run["seed"], run["fold"]) in own & others]
            for name, runs in side.items()
        }
        for side in (one, other)
    ]
    return both[0], both[1]


def _time(one: Side, other: Side) -> str:
    """The time over the other's."""
    seconds = [
        sum(run["seconds"] for runs in side.values() for run in runs) for side in (one, other)
    ]
    return f"{seconds[0] / seconds[1]:.2f}"


def _pairs(of: Side) -> list[str]:
    """Number of seeds; the ranking of pairs before the training, after it, and when aligned."""
    runs = next(iter(of.values()))
    cells = []
    for key in ("pairs before", "pairs", "pairs aligned"):
        known = [run[key] for run in runs if run.get(key) is not None]
        cells.append(f"{fmean(known):.3f}" if len(known) == len(runs) else "")
    return [str(_seeds(of)), *cells]


def plot(runs: Sequence[Run], path: Path) -> None:
    """Draw what an embedding that ranks pairs well costs: a point a weight, with and without alignment."""
    people = _people(runs)
    figure = Figure(figsize=(7, 4.2), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for key, label, style in (
        ("pairs aligned", "aligned to the base", "o-"),
        ("pairs", "as trained", "s--"),
    ):
        points = []
        for side in (RECIPE, *PROTECTED):
            own = [run for run in runs if run["side"] == side]
            if not own or any(run.get(key) is None for run in own):
                continue
            seeds = {run["seed"] for run in own}
            recipe = [run for run in runs if run["side"] == RECIPE and run["seed"] in seeds]
            loss, kept = (
                fmean(_pearson(run, people[run["corpus"]]) for run in recipe)
                - fmean(_pearson(run, people[run["corpus"]]) for run in own),
                fmean(run[key] for run in own),
            )
            points.append(
                (loss, kept, side.rpartition("protection ")[2] if side != RECIPE else "0")
            )
        (line,) = axes.plot(
            [x for x, _, _ in points], [y for _, y, _ in points], style, label=label
        )
        for loss, kept, weight in points:
            axes.annotate(
                weight,
                (loss, kept),
                xytext=(5, 5),
                textcoords="offset points",
                color=line.get_color(),
            )
    base = [run["pairs"] for run in runs if run["side"] == FROZEN]
    if base:
        axes.axhline(base[0], color="gray", linewidth=0.8)
        axes.text(
            axes.get_xlim()[1], base[0] - 0.03, "pre-trained model ", ha="right", color="gray"
        )
    axes.set_xlabel("r less than without protection, mean over the corpora")
    axes.set_ylabel("rank correlation of pairs")
    axes.set_ylim(0, 0.6)
    axes.legend(title="weight of the protection", loc="lower right")
    figure.savefig(path, format="png", metadata={"Software": None})


def _calibration(name: str, runs: Sequence[Run], people: dict[int, Run]) -> list[str]:
    """Means over the seeds; and where the share of true values lies 95 times of 100 if it is 90 %."""
    rows = sum(len(people[fold]["scores"]) for fold in {run["fold"] for run in runs})
    low, high = (binom.ppf(end, rows, 0.9) / rows for end in (0.025, 0.975))
    intervals = [run["calibration"]["score"]["after"] for run in runs]
    held = [found["observed"] for found in intervals if found is not None]
    means = [f"{fmean(values):.3f}" if values else "-" for values in (*_errors(runs, people), held)]
    return [name, *means, f"{low:.3f} to {high:.3f}"]


def _errors(
    runs: Sequence[Run], people: dict[int, Run]
) -> tuple[list[float], list[float], list[float]]:
    """Calibration error before and after, and by chance, a value a seed: of all its folds' sentences together.

    Older runs have not recorded what they stated: of them each run's own report counts.
    """
    if not all("stated" in run for run in runs):
        reports = [run["calibration"]["sentiment"] for run in runs]
        fitted = [report["after"] for report in reports if report["after"] is not None]
        return (
            [report["before"]["ece"] for report in reports],
            [report["ece"] for report in fitted],
            [report["by_chance"] for report in fitted],
        )
    before, after, chance = [], [], []
    for seed in dict.fromkeys(run["seed"] for run in runs):
        own = [run for run in runs if run["seed"] == seed]
        right = [
            np.equal(run["positive"], people[run["fold"]]["positive"]).astype(float) for run in own
        ]
        came_true = torch.from_numpy(np.concatenate(right))
        at_first, calibrated = (
            torch.tensor([each for run in own for each in run["stated"][when]])
            for when in ("before", "after")
        )
        before.append(expected_calibration_error(at_first, came_true))
        after.append(expected_calibration_error(calibrated, came_true))
        chance.append(calibration_error_by_chance(calibrated))
    return before, after, chance


def _pearson(run: Run, people: dict[int, Run]) -> float:
    return float(np.corrcoef(run["scores"], people[run["fold"]]["scores"])[0, 1])


def _accuracy(run: Run, people: dict[int, Run]) -> float:
    true = np.asarray(people[run["fold"]]["positive"])
    return float(np.mean(np.asarray(run["positive"]) == true))


def _difference(own: Sequence[Run], others: Sequence[Run], people: dict[int, Run]) -> str:
    """Mean over seeds and folds, with the middle 95 % over draws of sentences."""
    folds = sorted({run["fold"] for run in own})
    ends = np.cumsum([0, *(len(people[fold]["scores"]) for fold in folds)])
    places = {fold: slice(*ends[k : k + 2]) for k, fold in enumerate(folds)}
    parts = [
        (share / len(runs), places[run["fold"]], _products(run, people[run["fold"]]))
        for share, runs in ((1.0, own), (-1.0, others))
        for run in runs
    ]

    def difference(times: NDArray[np.int64]) -> float:
        return sum(share * _correlation(found @ times[place]) for share, place, found in parts)

    rows = int(ends[-1])
    mean = difference(np.ones(rows, dtype=np.int64))
    intervals = bootstrap(
        lambda chosen: {"difference": difference(np.bincount(chosen, minlength=rows))},
        strata=[rows],
        resamples=1000,
    )
    if not intervals:  # too few sentences
        return f"{mean:+.3f}"
    low, high = intervals["difference"]
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"


def _products(run: Run, people: Run) -> NDArray[np.float64]:
    """Of each sentence what adds up to a correlation with the people, (6, rows)."""
    x, y = (np.array(each["scores"]) - np.mean(each["scores"]) for each in (run, people))
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y])


def _correlation(sums: NDArray[np.float64]) -> float:
    """Pearson's r of sentences from their sums of products, (6,)."""
    x, y, xx, yy, xy = sums[1:] / sums[0]
    return float((xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y)))


def main() -> None:
    """Measure what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--folds", type=int, default=1, help="parts that are the test split in turn"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", type=Path, default=RESULTS)
    parser.add_argument("--pairs", type=Path, default=ROOT / "data" / "lee_pairs.tsv")
    parser.add_argument("--runs", type=Path, default=ROOT / "lightning_logs" / "human_ratings")
    parser.add_argument("--table", action="store_true", help="print what is on record")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw r against pairs as well")
    options, fit = parser.parse_known_args()
    options.fit = fit  # further options of it
    silence_upstream_notes()
    torch.set_num_threads(options.threads)
    if not options.table:
        if VADER in options.sides and find_spec("vaderSentiment") is None:
            parser.error(f"the side {VADER} needs `pip install vaderSentiment==3.3.2`")
        measure(options)
    runs = recorded(options.record)
    print(tables(runs))
    if options.plot is not None:
        own = setting_of(options).items()
        plot([run for run in runs if own <= run.items()], options.plot)


if __name__ == "__main__":
    main()
