"""Refuses a metric that is waited for and that nobody logs, before the first step and not hours later."""

from collections.abc import Iterator

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from lit_mtl.callbacks.staged_freezing import StagedFreezing
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.errors import ConfigError
from lit_mtl.evaluation import validation_keys

_OWN = ("lit_mtl", "lightning", "pytorch_lightning")
"""Packages of which it is known what they log."""

_OTHERS = ("train/", "stage/", "lr")
"""What keys begin with that are no metric of a validation: losses, stages, and learning rates."""

_COUNTERS = ("epoch", "step")
"""What Lightning's `ModelCheckpoint` knows by itself."""


class KnownMonitors(Callback):
    """Looks at what `checkpoint`, plateaus of stages, and callbacks of Lightning's monitor.

    It refuses a key that no part of the run can log: one that is no metric of a task in validation, no
    counter, and does not begin as training losses, stages and learning rates do; of these the first
    validation shows what is there. Where a callback or the
    module is the user's own it refuses nothing, since these may log anything; then the first validation
    shows what is there.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look, as soon as the tasks are known."""
        data = getattr(trainer, "datamodule", None)
        if stage == TrainerFn.FITTING and isinstance(data, SentimentDataModule):
            refuse_unknown_monitors(trainer, pl_module, data)


def refuse_unknown_monitors(
    trainer: Trainer, module: LightningModule, data: SentimentDataModule
) -> None:
    """Refuse what `KnownMonitors` refuses.

    Args:
        trainer: whose callbacks monitor something.
        module: what is trained.
        data: what it is trained on, set up.

    Raises:
        ConfigError: naming the key, who monitors it, and the metrics that there are.
    """
    callbacks: list[Callback] = vars(trainer)["callbacks"]
    if any(type(part).__module__.partition(".")[0] not in _OWN for part in (*callbacks, module)):
        return
    known = validation_keys(data.tasks)
    for who, key in _monitored(callbacks):
        if key not in (*known, *_COUNTERS) and not key.startswith(_OTHERS):
            raise ConfigError(
                f"{who}: expected a logged metric as `monitor`, but got {key!r}; a validation of these "
                f"tasks has {', '.join(known)}"
            )


def _monitored(callbacks: list[Callback]) -> Iterator[tuple[str, str]]:
    """Who monitors what."""
    for callback in callbacks:
        key = getattr(callback, "monitor", None)
        # an EarlyStopping that is not strict goes on without its metric
        if isinstance(key, str) and getattr(callback, "strict", True):
            yield type(callback).__name__, key
        if isinstance(callback, StagedFreezing):
            for stage in callback.stages:
                if stage.until_plateau is not None:
                    yield str(stage), stage.until_plateau.monitor
