"""Compares models on the same held-out sentences: paired bootstrap over sentences, and a verdict.

A sentence that is hard for one model is mostly hard for the other one too. Resampling sentences, and
measuring both models on each resample, leaves that out of the interval of their difference, which is
then far narrower than the two models' own intervals suggest (Efron & Tibshirani 1993; Koehn 2004).

Shapes: R rows, O outputs of a head, S the shape of a target; V variants, F folds, K seeds.
"""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, Self

import torch
from torch import Tensor

from lit_mtl.checkpoints import read_tensors
from lit_mtl.data.splits import text_key
from lit_mtl.errors import DataError
from lit_mtl.evaluation import bootstrap, measure
from lit_mtl.files import write_atomically
from lit_mtl.tasks import task_from_spec
from lit_mtl.tasks.base import Task

NEGLIGIBLE = 0.01
"""Two models whose difference lies within so much of 0, interval and all, count as equally good."""

_POWER = (1.96 + 0.84) / 1.96
"""How many half-widths of its interval a difference must be long to be found four times of five."""

_LESS = "less "
"""What the names of differences begin with."""

_PARTS = ("keys", "output", "target")

Verdict = Literal["better", "worse", "equal", "seeds disagree", "cannot tell", "too few rows"]


@dataclass(frozen=True, kw_only=True)
class HeldOutRows:
    """What a trained head gives for the labelled rows of a test split.

    Args:
        task: the task, as fitted to the run's training split.
        keys: one of each row, by which it is found in other runs.
        output: of the head, (R, O).
        target: the encoded targets, (R, S).
    """

    task: Task
    keys: list[str]
    output: Tensor
    target: Tensor

    def of(self, keys: Sequence[str]) -> Self:
        """The rows with these keys, in their order."""
        place = {key: number for number, key in enumerate(self.keys)}
        chosen = torch.tensor([place[key] for key in keys], dtype=torch.int64)
        return type(self)(
            task=self.task,
            keys=list(keys),
            output=self.output[chosen],
            target=self.target[chosen],
        )

    def primary(self, chosen: Tensor) -> float:
        """The task's primary metric on some rows; an undefined one counts as 0, as in `selection`."""
        found = measure(self.task, self.output[chosen], self.target[chosen])
        return float(found[self.task.primary_metric] or 0.0)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric, or a difference of two.

    Args:
        mean: over all runs.
        by_seed: mean over the folds, for each seed.
        interval: the middle 95 % of the mean over resampled sentences; None below `LEAST_ROWS`.
        rows: sentences.
    """

    mean: float
    by_seed: list[float]
    interval: tuple[float, float] | None
    rows: int

    @property
    def verdict(self) -> Verdict:
        """What this says, as a difference.

        The interval knows the luck of the sentences and not that of the seeds. So a difference counts
        only where all seeds have its sign.
        """
        if self.interval is None:
            return "too few rows"
        low, high = self.interval
        if low > 0 or high < 0:
            if any(value * self.mean <= 0 for value in self.by_seed):
                return "seeds disagree"
            return "better" if low > 0 else "worse"
        return "equal" if low >= -NEGLIGIBLE and high <= NEGLIGIBLE else "cannot tell"

    @property
    def rows_needed(self) -> int | None:
        """About how many sentences would show a difference of this size in four of five test splits.

        The interval narrows with the square root of their number.
        """
        if self.interval is None or self.mean == 0:
            return None
        half = (self.interval[1] - self.interval[0]) / 2
        return round(self.rows * (_POWER * half / self.mean) ** 2)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All variants on one task.

    Args:
        metric: the task's primary metric.
        variants: each variant's own figure.
        differences: the first variant less each other one.
    """

    metric: str
    variants: dict[str, Estimate]
    differences: dict[str, Estimate]


def row_keys(texts: Sequence[str]) -> list[str]:
    """A key of each text that does not tell it; of equal texts, each has another one."""
    seen: Counter[str] = Counter()
    keys = []
    for text in texts:
        digest = sha256(text_key(text).encode("utf-8", "surrogatepass")).hexdigest()[:24]
        keys.append(f"{digest}-{seen[digest]}")
        seen[digest] += 1
    return keys


def compare(
    runs: Mapping[str, Sequence[Sequence[HeldOutRows]]], *, resamples: int = 1000
) -> Comparison:
    """Compare the first variant with each other one, on the sentences that all have held out.

    The figure of a variant is the mean over folds and seeds of what each run has on its own rows. Rows
    of several models are not pooled: their outputs need not have one scale (Forman & Scholz 2010).
    Each resample draws sentences once, for all variants and seeds, and of each fold as many as it has: a
    mean over folds is one over the same folds in each draw, and none of them is left with few rows.

    Args:
        runs: variant to its runs, by fold and seed: F times K.
        resamples: of the bootstrap.

    Raises:
        DataError: if the runs have no sentence in common, or other targets for the same one.
    """
    names = list(runs)
    folds = [
        _joined([run for by_fold in runs.values() for run in by_fold[number]])
        for number in range(len(runs[names[0]]))
    ]
    sizes = [len(fold[0].keys) for fold in folds]

    def figures(chosen: Tensor) -> dict[str, list[float]]:
        """Each variant and each difference on rows of all folds, one behind the other: a figure a seed."""
        measured = []
        for fold, part, end in zip(folds, chosen.split(sizes), accumulate(sizes), strict=True):
            own = part - (end - len(part))
            measured.append([run.primary(own) for run in fold])
        by_variant = torch.tensor(measured, dtype=torch.float64).mean(dim=0).view(len(names), -1)
        values = dict(zip(names, by_variant, strict=True))
        values |= {_LESS + name: values[names[0]] - values[name] for name in names[1:]}
        return {name: each.tolist() for name, each in values.items()}

    rows = sum(sizes)
    intervals = bootstrap(
        lambda chosen: {name: fmean(values) for name, values in figures(chosen).items()},
        strata=sizes,
        resamples=resamples,
    )
    found = {
        name: Estimate(mean=fmean(values), by_seed=values, interval=intervals.get(name), rows=rows)
        for name, values in figures(torch.arange(rows)).items()
    }
    return Comparison(
        metric=folds[0][0].task.primary_metric,
        variants={name: found[name] for name in names},
        differences={name: found[_LESS + name] for name in names[1:]},
    )


def save_rows(path: Path, rows: Mapping[str, HeldOutRows]) -> None:
    """Write the rows of each task: plain values and tensors.

    Raises:
        StorageError: if the file cannot be written.
    """
    content = {
        name: {"task": each.task.spec(), **{key: getattr(each, key) for key in _PARTS}}
        for name, each in rows.items()
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def load_rows(path: Path) -> dict[str, HeldOutRows]:
    """Read what `save_rows` wrote, by task.

    Raises:
        StorageError: if the file cannot be read.
    """
    content: dict[str, dict[str, Any]] = read_tensors(path, kind="file of rows")
    return {
        name: HeldOutRows(task=task_from_spec(each["task"]), **{key: each[key] for key in _PARTS})
        for name, each in content.items()
    }


def _joined(runs: Sequence[HeldOutRows]) -> list[HeldOutRows]:
    """The rows that all runs have, in one order.

    Raises:
        DataError: if there are none, or they have other targets.
    """
    common = sorted(set.intersection(*(set(run.keys) for run in runs)))
    if not common:
        raise DataError("No sentence is in the test split of every run: there is nothing to pair")
    joined = [run.of(common) for run in runs]
    for run in joined[1:]:
        if not torch.equal(run.target, joined[0].target):
            raise DataError(
                "The runs have different targets for the same sentence: sources that contradict "
                "each other cannot be compared"
            )
    return joined
