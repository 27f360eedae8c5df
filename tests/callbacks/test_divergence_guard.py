"""F12: what is not a number never reaches the weights."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.amp import GradScaler

from lit_mtl.callbacks.divergence_guard import DivergenceGuard
from lit_mtl.callbacks.staged_freezing import StagedFreezing
from lit_mtl.checkpoints import newest_valid
from lit_mtl.errors import DivergedError
from lit_mtl.module import MultiTaskModule
from lit_mtl.optim.freezing_plan import Stage
from tests.conftest import example_data
from tests.processes import finished
from tests.runs import fault, last_state, run_folder, scalars_of, trace_of


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_f12_a_gradient_that_is_not_finite_ends_the_run_before_the_update(
    precision: str, fit_arguments: list[str], tmp_path: Path
) -> None:
    words = ["fit", *fit_arguments, f"--trainer.precision={precision}", "--ckpt_path=auto"]
    poisoned = [*words, *fault(what="nan_gradient", step=7)]
    output = tmp_path / "output.txt"
    assert finished(poisoned, folder=tmp_path, output=output) == 70
    message = output.read_text().strip().splitlines()[-1]
    for part in ("step 7 (epoch 2)", "projection.weight", "model.lr", "gradient_clip_val"):
        assert part in message
    path, complaints = newest_valid(run_folder(tmp_path) / "checkpoints")
    assert path is not None
    assert (path.name, complaints) == ("step_5.ckpt", [])
    assert finished(poisoned, folder=tmp_path, output=output) == 0
    values = last_state(run_folder(tmp_path)).values()
    assert all(value.isfinite().all() for value in values if isinstance(value, torch.Tensor))


def test_f12_weights_that_are_not_numbers_are_stopped_and_never_the_best(
    fit_arguments: list[str], tmp_path: Path
) -> None:
    words = ["fit", *fit_arguments, *fault(what="nan_weight", step=7)]
    assert finished(words, folder=tmp_path, output=tmp_path / "output.txt") == 70
    best = torch.load(run_folder(tmp_path) / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == 5
    assert all(value.isfinite().all() for value in best["state_dict"].values())


@pytest.mark.parametrize(
    "monitor",
    [
        [],
        ["--checkpoint.monitor=val/loss", "--checkpoint.mode=min"],
        ["--checkpoint.monitor=train/loss", "--checkpoint.mode=min"],
    ],
    ids=["selection", "loss", "a number of the training"],
)
def test_f12_a_validation_of_what_is_not_a_number_is_never_the_best(
    monitor: list[str], fit_arguments: list[str], tmp_path: Path
) -> None:
    """An undefined metric is no zero here: a loss of 0 would be the best one there is."""
    words = ["fit", *fit_arguments, *monitor, *fault(what="nan_weight", place="validation")]
    assert finished(words, folder=tmp_path, output=tmp_path / "output.txt") == 70
    assert not list((run_folder(tmp_path) / "checkpoints").glob("best*"))
    for tag in ("val/selection", "val/loss"):
        assert [math.isnan(value) for _, value in scalars_of(run_folder(tmp_path))[tag]] == [True]


def test_a_frozen_network_has_no_gradient_to_look_at(
    fit_arguments: list[str], tmp_path: Path
) -> None:
    Path("plan.yaml").write_text("freezing: {stages: [{name: rest, freeze: [all]}]}")
    words = ["fit", *fit_arguments, "--config=plan.yaml", "--trainer.callbacks+=tests.faults.Trace"]
    assert finished(words, folder=tmp_path, output=tmp_path / "output.txt") == 0
    assert len(trace_of(tmp_path)) == 10


def scaled_fit(tiny_bert: Path, freeze: tuple[str, ...], *callbacks: Callback) -> MultiTaskModule:
    """Fit under a gradient scaler, which Lightning uses for 16-mixed, on the processor."""
    precision = MixedPrecision("16-mixed", "cpu", scaler=GradScaler("cpu"))
    trainer = Trainer(
        accelerator="cpu",
        plugins=[precision],
        max_epochs=6,
        callbacks=[
            StagedFreezing([Stage(name="only", freeze=freeze)]),
            DivergenceGuard(),
            *callbacks,
        ],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = MultiTaskModule(str(tiny_bert))
    trainer.fit(module, datamodule=example_data(tiny_bert))
    return module


class Poison(Callback):
    """Makes a head not a number for good, or its gradient at one step."""

    def __init__(self, *, weight: bool) -> None:
        self.weight = weight

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, _: int) -> None:
        if trainer.global_step == 3 and self.weight:
            with torch.no_grad():
                pl_module.network.heads["score"][1].bias.fill_(math.nan)

    def on_after_backward(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.global_step == 3 and not self.weight:
            pl_module.network.heads["score"][1].bias.grad.fill_(math.inf)


def test_under_a_gradient_scaler_one_overflow_is_passed_over_and_many_end_the_run(
    tiny_bert: Path,
) -> None:
    module = scaled_fit(tiny_bert, (), Poison(weight=False))
    assert all(value.isfinite().all() for value in module.state_dict().values())
    with pytest.raises(DivergedError, match=r"step \d+ .* not finite"):
        scaled_fit(tiny_bert, (), Poison(weight=True))


def test_under_a_gradient_scaler_a_network_may_rest_as_a_whole(tiny_bert: Path) -> None:
    """The scaler refuses to step where it has seen no gradient."""
    torch.manual_seed(0)
    module = scaled_fit(tiny_bert, ("all",))
    assert module.trainer.global_step == 30
