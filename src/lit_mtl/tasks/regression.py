"""Regression of a score in a declared range.

Shapes: R rows.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist, fmean, pstdev
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from lit_mtl.errors import ConfigError
from lit_mtl.reliability import conformal_radius
from lit_mtl.tasks.base import Claims, Metrics, Target, Task

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


_LEAST_VARIANCE = torch.finfo(torch.float64).eps ** 0.5
"""Below it torchmetrics calls its own correlation unstable."""


@dataclass(frozen=True, kw_only=True)
class Regression(Task):
    """One real score, learned by squared error on standardised targets.

    The head's output z stands for the score `center + scale * z`. With the mean and the standard
    deviation of the training targets the loss begins near 1 whatever the unit of the score is, so
    it can be added to a cross-entropy without a weight of its own.

    Args:
        kind: names this kind of task in a config.
        weight: factor of this task's loss in the sum of the losses; see `Task`.
        low: smallest score that is allowed in the data; predictions are clipped to it.
        high: largest score that is allowed in the data; predictions are clipped to it.
        center: score at z = 0. None: the mean of the training targets.
        scale: score of one unit of z. None: the standard deviation of the training targets.
        coverage: probability with which the interval around a prediction holds the score, in (0, 1).
        radius: half the width of that interval. None: fitted on the validation split at the end of
            a fit; until then there is no interval.
    """

    low: float
    high: float
    kind: Literal["regression"] = "regression"
    center: float | None = None
    scale: float | None = None
    coverage: float = 0.9
    radius: float | None = None

    target_columns: ClassVar[tuple[str, ...]] = ("score",)
    primary_metric: ClassVar[str] = "pearson"

    def __post_init__(self) -> None:
        """Check the range and the unit."""
        super().__post_init__()
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(
                f"Expected a range with `low` < `high`, but got low={self.low}, high={self.high}"
            )
        if self.scale is not None and not self.scale > 0:
            raise ConfigError(f"Expected argument `scale` to be above 0, but got {self.scale}")
        if not 0 < self.coverage < 1:
            raise ConfigError(
                f"Expected argument `coverage` to be in (0, 1), but got {self.coverage}"
            )
        if self.radius is not None and not self.radius >= 0:
            raise ConfigError(f"Expected argument `radius` to be at least 0, but got {self.radius}")

    @property
    def output_dim(self) -> int:
        """One number."""
        return 1

    @property
    def target_dtype(self) -> torch.dtype:
        """Scores in the user's unit."""
        return torch.float32

    def encode(self, value: str) -> float:
        """Read a score: ASCII digits, a decimal point, within the range.

        Python's own `float` would also take `1_000`, `nan` and digits of other scripts.
        """
        if not _NUMBER.fullmatch(value):
            hint = "; write the decimals after a point" if "," in value else ""
            raise ValueError(f"expected a number such as -1.5; found {value!r}{hint}")
        score = float(value)
        if not self.low <= score <= self.high:
            raise ValueError(
                f"expected a score within the declared range {self.low:g} to {self.high:g}; "
                f"found {value}"
            )
        return score

    def merge(self, targets: Sequence[Target]) -> Target:
        """The mean of the scores."""
        return fmean(score for score in targets if not isinstance(score, tuple))

    def describe(self, target: Target) -> str:
        """The score."""
        assert not isinstance(target, tuple)
        return f"{target:g}"

    def resolve(self, values: Sequence[str]) -> Self:
        """Nothing is left to the raw values: the range is declared."""
        return self

    def fit(self, targets: Sequence[float]) -> Self:
        """Measure center and scale on the training targets where they were not declared."""
        if not len(targets):
            return self
        center = fmean(targets) if self.center is None else self.center
        scale = (pstdev(targets) or 1.0) if self.scale is None else self.scale
        return replace(self, center=center, scale=scale)

    def row_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Squared error in units of `scale`: output (R, 1) and scores (R,) to (R,)."""
        center, scale = self._unit()
        return (output.squeeze(-1) - (target - center) / scale).square()

    def predict(self, output: Tensor) -> Tensor:
        """Scores (R,) in the user's unit, clipped to the declared range."""
        center, scale = self._unit()
        return (output.squeeze(-1) * scale + center).clamp(self.low, self.high)

    def decode(self, prediction: Tensor) -> dict[str, Any]:
        """The score, and its interval where one is known."""
        interval = self.interval(prediction)
        known = {} if interval is None else {"interval": interval.tolist()}
        return {"score": float(prediction), **known}

    def interval(self, prediction: Tensor) -> Tensor | None:
        """Scores within `radius`, and within the declared range: (R, 2)."""
        if self.radius is None:
            return None
        ends = torch.stack([prediction - self.radius, prediction + self.radius], dim=-1)
        return ends.clamp(self.low, self.high)

    def calibrate(self, output: Tensor, target: Tensor) -> Self:
        """Fit the radius of the interval; too few rows for the coverage fix none."""
        found = conformal_radius(self._errors(output, target), coverage=self.coverage)
        return self if found is None else replace(self, radius=found)

    def claims(self, output: Tensor, target: Tensor) -> Claims:
        """The coverage, and whether the score lies within the interval.

        Where no interval is known, that of normal errors with these rows' own mean square.
        """
        errors = self._errors(output, target)
        radius = self.radius
        if radius is None:
            deviation = float(errors.square().mean().sqrt())
            radius = NormalDist().inv_cdf((1 + self.coverage) / 2) * deviation
        return torch.full_like(errors, self.coverage), (errors <= radius).to(errors.dtype)

    def metrics(self, output: Tensor, target: Tensor) -> Metrics:
        """Pearson and Spearman correlation, mean absolute and root mean squared error.

        A correlation needs targets and predictions that vary and are finite.
        """
        # here and not on top: who only predicts needs no torchmetrics
        from torchmetrics import functional as measures

        score = self.predict(output)
        if not len(target):
            return {"pearson": None, "spearman": None, "mae": None, "rmse": None}
        varies = bool(min(_variance(score), _variance(target)) > _LEAST_VARIANCE)
        return {
            # float64, because the one-pass sums of torchmetrics lose digits in float32
            "pearson": float(measures.pearson_corrcoef(score.double(), target.double()))
            if varies
            else None,
            "spearman": float(measures.spearman_corrcoef(score, target)) if varies else None,
            "mae": float(measures.mean_absolute_error(score, target)),
            "rmse": float(measures.mean_squared_error(score, target, squared=False)),
        }

    def _errors(self, output: Tensor, target: Tensor) -> Tensor:
        return (self.predict(output).double() - target.double()).abs()

    def _unit(self) -> tuple[float, float]:
        return (
            0.0 if self.center is None else self.center,
            1.0 if self.scale is None else self.scale,
        )

    def _outputs(self) -> tuple[object, ...]:
        return (self.low, self.high)


def _variance(values: Tensor) -> float:
    """Variance in float64; 0 for a single value and for what is not finite."""
    variance = float(values.double().var(correction=0))
    return variance if math.isfinite(variance) else 0.0
