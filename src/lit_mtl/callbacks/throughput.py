"""How fast a training runs, beside what the machine could do.

Shapes: B rows, T tokens of the longest row in the batch.
"""

import time
from typing import Any

import torch
from lightning.fabric.utilities.throughput import Throughput
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_mtl.data.batch import Batch
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.optim.freezing_plan import relative_cost

_NAMES = {
    "device/samples_per_sec": "throughput/sentences_per_second",
    "device/items_per_sec": "throughput/tokens_per_second",
    "device/flops_per_sec": "throughput/flop_per_second",
    "device/mfu": "throughput/fraction_of_matrix_rate",
}
"""What is logged, by Lightning's names: of the first process, for itself."""

_SIZES = {"cpu": 1024, "gpu": 8192}
_TRIALS = 5


class ThroughputLog(Callback):
    """Logs sentences, real tokens and floating-point operations a second while training.

    Each value is the mean over the last `log_every_n_steps` steps. Evaluation is left out: behind it,
    and at an epoch's begin, counting starts anew. The operations are counted, not measured: see
    `StepOperations`. Padding counts as nothing, so it lowers all of these.
    """

    def __init__(self) -> None:
        self._throughput = Throughput()
        self._operations: StepOperations | None = None
        self._totals = {"batches": 0, "samples": 0, "lengths": 0}
        self._begins = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the matrix rate, once."""
        rate = matrix_rate(pl_module.device, _type_of(str(trainer.precision)))
        steps = int(
            getattr(trainer, "log_every_n_steps", 50)
        )  # set, but not declared, by Lightning
        batches = max(steps, 1) * trainer.accumulate_grad_batches
        self._throughput = Throughput(available_flops=rate, window_size=batches + 1)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew: what has happened since the last step was no step."""
        self._reset()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self._reset()

    def _reset(self) -> None:
        self._throughput.reset()
        self._begins = True

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin the first step since counting began anew: `log_every_n_steps` of them fill the window."""
        if self._begins:
            self._begins = False
            self._throughput.update(time=time.perf_counter(), flops=0, **self._totals)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count the batch, and log where Lightning logs."""
        rows, tokens = len(batch["row_id"]), batch["tokens"]
        for key, value in (("batches", 1), ("samples", rows), ("lengths", tokens)):
            self._totals[key] += value
        network, cached = pl_module.network, pl_module.cached_prefix
        assert isinstance(network, MultiTaskModel)
        assert isinstance(cached, dict)
        layers = cached["train"].layers if "train" in cached else 0
        if self._operations is None or not self._operations.fits(network, layers):
            self._operations = StepOperations(network, cached_layers=layers)
        operations = self._operations.of(rows, tokens)
        self._throughput.update(time=time.perf_counter(), flops=operations, **self._totals)
        # the same moments as LearningRateMonitor's, by the same private names
        accumulates = trainer.fit_loop._should_accumulate()
        if accumulates or not trainer._logger_connector.should_update_logs:
            return
        found = self._throughput.compute()
        metrics = {shown: found[name] for name, shown in _NAMES.items() if name in found}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.fit_loop.epoch_loop._batches_that_stepped)


class StepOperations:
    """Counts the floating-point operations of a training step: multiplications and additions.

    Those of the backbone's layers: two for each weight of a matrix and each token, and the attention's
    own products; times one for the forward pass, one for gradients of inputs and one for gradients of
    weights, as far as the step has them (`relative_cost`). What lies beside the layers counts
    nothing.

    Args:
        network: with the flags of the current stage.
        cached_layers: the lowest layers, that a step reads instead of running them.
    """

    def __init__(self, network: MultiTaskModel, *, cached_layers: int = 0) -> None:
        places = network.places()
        backbone = network.encoder.backbone
        parameters = dict(network.named_parameters())
        frozen = {name for name, value in parameters.items() if not value.requires_grad}
        self._state = (_flags(network), cached_layers)
        self._passes = 3 * relative_cost(frozen, places) - cached_layers / backbone.num_layers
        self._weights = sum(
            value.numel()
            for name, value in parameters.items()
            if value.ndim == 2 and 0 < places[name].depth <= backbone.num_layers
        )
        self._attention = 4 * backbone.num_layers * backbone.hidden_size

    def fits(self, network: MultiTaskModel, cached_layers: int = 0) -> bool:
        """Whether the flags and the layers are still those that were counted with."""
        return self._state == (_flags(network), cached_layers)

    def of(self, rows: int, tokens: int) -> int:
        """Operations of a step, without padding.

        Args:
            rows: B.
            tokens: real tokens of the batch; its rows are taken as equally long.
        """
        forward = tokens * (2 * self._weights + self._attention * tokens / rows)
        return int(self._passes * forward)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a product of two square matrices of random numbers.

    The best of some trials, with the threads that the training has. It takes some milliseconds, on a
    slow GPU a second: the matrices are larger there, or the call would take longer than the product.
    """
    size = _SIZES["cpu" if device.type == "cpu" else "gpu"]
    draws = torch.Generator(device).manual_seed(0)  # not those of the training
    left, right = (
        torch.rand(size, size, device=device, generator=draws).to(dtype) for _ in range(2)
    )
    seconds = []
    for _ in range(_TRIALS + 1):  # the first one prepares
        begun = time.perf_counter()
        float((left @ right)[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - begun)
    return float(2 * size**3 / min(seconds[1:]))


def _flags(network: MultiTaskModel) -> tuple[bool, ...]:
    return tuple(parameter.requires_grad for parameter in network.parameters())


def _type_of(precision: str) -> torch.dtype:
    """The type of the matrix products under a precision of Lightning's."""
    for part, dtype in (("bf16", torch.bfloat16), ("64", torch.float64), ("16", torch.float16)):
        if part in precision:
            return dtype
    return torch.float32
