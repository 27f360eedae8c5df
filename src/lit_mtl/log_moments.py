"""When a training step's values are worth logging."""

from lightning.pytorch import Trainer


def logs_now(trainer: Trainer, batch_idx: int) -> bool:
    """Whether anybody reads what this training step logs.

    Loggers do so every `log_every_n_steps` steps, callbacks at the end of an epoch, at a validation
    and at the last step. Between these moments `LightningModule.log` would keep values that the next
    ones replace; of a step that reads a cached prefix that was about half of the time.

    Args:
        trainer: while it trains.
        batch_idx: number of the batch in its epoch, from 0.
    """
    every = trainer.val_check_batch  # None: at some time, which nobody knows before
    if trainer.check_val_every_n_epoch is None:  # then Lightning counts over all epochs
        batch_idx = trainer.fit_loop.total_batch_idx
    # Lightning's own condition, by its private name, which also LearningRateMonitor uses
    return bool(
        trainer._logger_connector.should_update_logs
        or trainer.is_last_batch
        or trainer.global_step + 1 == trainer.max_steps
        or every is None
        or (batch_idx + 1) % every == 0
    )
