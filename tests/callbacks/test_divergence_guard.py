"""F12: what is not a number never reaches the weights."""

import math
from pathlib import Path

import pytest
import torch

from lit_mtl.checkpoints import newest_valid
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
    [[], ["--checkpoint.monitor=val/loss", "--checkpoint.mode=min"]],
    ids=["selection", "loss"],
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
