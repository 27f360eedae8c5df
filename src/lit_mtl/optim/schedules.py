"""The course of the learning rate: a linear warm-up, then a decay to zero."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch.optim.lr_scheduler import LambdaLR

from lit_mtl.errors import ConfigError

Shape = Literal["linear", "cosine", "constant"]
_SHAPES: tuple[str, ...] = get_args(Shape)


@dataclass(frozen=True, kw_only=True)
class WarmupDecay:
    """Factor of the learning rate at an optimizer step; a callable for torch's `LambdaLR`.

    An object rather than a closure, so that a scheduler's state can be saved with it.

    Args:
        total_steps: optimizer steps of the whole run.
        warmup_fraction: share of them that climbs from near 0 to 1, in [0, 1).
        shape: the descent from 1 to 0 after it, or none.
    """

    total_steps: int
    warmup_fraction: float
    shape: Shape

    def __post_init__(self) -> None:
        """Check the numbers and the shape."""
        if self.shape not in _SHAPES:
            raise ConfigError(
                f"Expected argument `schedule` to be one of {', '.join(_SHAPES)}, but got {self.shape!r}"
            )
        if self.total_steps < 1:
            raise ConfigError(
                f"Expected argument `total_steps` to be at least 1, but got {self.total_steps}"
            )
        if not 0 <= self.warmup_fraction < 1:
            raise ConfigError(
                f"Expected argument `warmup_fraction` to be in [0, 1), but got {self.warmup_fraction}"
            )

    def __call__(self, step: int) -> float:
        """Factor at `step`, counted from 0; the first step of a warm-up is not wasted at 0."""
        # rounded first: 100 * 0.07 must not become 8 by the last bit of a float
        warmup = math.ceil(round(self.total_steps * self.warmup_fraction, 9))
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self.shape == "constant":
            return 1.0
        progress = min(1.0, (step - warmup) / max(1, self.total_steps - warmup))
        return 1.0 - progress if self.shape == "linear" else (1 + math.cos(math.pi * progress)) / 2


@dataclass(kw_only=True)
class GroupCourse:
    """Factor of one group's learning rate: the run's course, a warm-up after a thaw, and a scale.

    torch's `LambdaLR` saves the attributes of such an object with the scheduler, so a resumed run
    goes on within a warm-up. They hold plain values for that reason.

    Args:
        course: the run's course as the arguments of `WarmupDecay`.
        thaw_step: step at which the group was last thawed.
        warmup_steps: steps over which its rate climbs again from there.
        scale: factor of the current stage, 0 while the whole group is frozen.
    """

    course: dict[str, Any]
    thaw_step: int = 0
    warmup_steps: int = 0
    scale: float = 1.0

    def __call__(self, step: int) -> float:
        """Factor at `step`, counted from 0."""
        since = step - self.thaw_step
        climbed = min(1.0, (since + 1) / (self.warmup_steps + 1))
        return WarmupDecay(**self.course)(step) * climbed * self.scale


def courses_of(scheduler: LambdaLR) -> list[GroupCourse]:
    """The course of each of the optimizer's groups."""
    courses = [course for course in scheduler.lr_lambdas if isinstance(course, GroupCourse)]
    assert len(courses) == len(scheduler.lr_lambdas), "the scheduler is this project's own"
    return courses
