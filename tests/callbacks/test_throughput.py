import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.flop_counter import FlopCounterMode

from lit_mtl.callbacks.throughput import StepOperations, ThroughputLog, matrix_rate
from lit_mtl.data.batch import Batch
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.module import MultiTaskModule
from lit_mtl.tasks import Classification
from tests.conftest import TINY_BERT, Run, example_data
from tests.runs import run_folder, scalars_of

ROWS, TOKENS = 3, 7


def network() -> MultiTaskModel:
    tasks = {"sentiment": Classification(labels=("no", "yes"))}
    model = MultiTaskModel.from_backbone(str(TINY_BERT), tasks=tasks, pretrained=False)
    # torch's counter does not know the processor's fused attention
    model.encoder.backbone.transformer.set_attn_implementation("eager")
    return model


def counted(model: MultiTaskModel) -> int:
    """What torch counts of the backbone's forward and backward pass."""
    ids = torch.randint(5, 20, (ROWS, TOKENS))
    with FlopCounterMode(display=False) as counter:
        states = model.encoder.backbone(ids, torch.ones_like(ids))
        if states.requires_grad:
            states.sum().backward()
    return int(counter.get_total_flops())


def test_operations_are_those_that_torch_counts() -> None:
    model = network()
    whole = counted(model)
    assert StepOperations(model).of(ROWS, ROWS * TOKENS) == whole
    model.encoder.backbone.requires_grad_(False)
    assert StepOperations(model).of(ROWS, ROWS * TOKENS) == counted(model) == whole / 3


def test_operations_of_the_top_alone_are_about_those_that_torch_counts() -> None:
    """The lowest layer that trains has no gradient of its own input, which is counted here."""
    model = network()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(model.places()[name].depth <= 1)
    found = StepOperations(model).of(ROWS, ROWS * TOKENS)
    assert counted(model) < found < 1.25 * counted(model)


def test_padding_counts_nothing_and_flags_are_noticed() -> None:
    model = network()
    operations = StepOperations(model)
    assert operations.of(4, 20) < operations.of(4, 28)
    assert operations.fits(model)
    assert not operations.fits(model, 1)
    model.heads.requires_grad_(False)
    assert not operations.fits(model)


def test_layers_that_are_read_and_not_run_count_nothing() -> None:
    model = network()
    layers = model.encoder.backbone.num_layers
    model.encoder.backbone.requires_grad_(False)
    run = StepOperations(model).of(ROWS, ROWS * TOKENS)
    half = StepOperations(model, cached_layers=layers // 2).of(ROWS, ROWS * TOKENS)
    assert half == run / 2
    assert StepOperations(model, cached_layers=layers).of(ROWS, ROWS * TOKENS) == 0


def test_the_matrix_rate_is_what_a_product_takes() -> None:
    rate = matrix_rate(torch.device("cpu"), torch.float32)
    matrix = torch.ones(1024, 1024)
    seconds = []
    for _ in range(20):
        begun = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - begun)
    # other load on the machine makes it slower by much, and never faster than the best by much
    assert 0.02 < rate / (2 * 1024**3 / min(seconds)) < 50


def test_measuring_the_rate_takes_none_of_the_training_s_random_numbers() -> None:
    before = torch.get_rng_state()
    matrix_rate(torch.device("cpu"), torch.bfloat16)
    assert torch.equal(torch.get_rng_state(), before)


class Pause(Callback):
    """Makes every step, and validation, as long as a test wants."""

    def on_train_batch_start(self, *arguments: Any) -> None:
        time.sleep(0.05)

    def on_validation_start(self, *arguments: Any) -> None:
        time.sleep(3)


class Seen(Callback):
    """Counts by itself."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, int]] = []

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Batch, _: int
    ) -> None:
        self.batches.append((len(batch["row_id"]), batch["tokens"]))


def logged_by(
    folder: Path, backbone: Path, *callbacks: Callback, **options: Any
) -> dict[str, list[tuple[int, float]]]:
    """The scalars of a fit of the example sentences."""
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[ThroughputLog(), *callbacks],
        logger=TensorBoardLogger(folder, name="run"),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(MultiTaskModule(str(backbone)), datamodule=example_data(backbone))
    return scalars_of(folder / "run" / "version_0")


@pytest.mark.slow
def test_rates_are_those_of_steps_and_leave_validation_out(tiny_bert: Path, tmp_path: Path) -> None:
    seen = Seen()
    often = {"max_epochs": 2, "val_check_interval": 0.5, "log_every_n_steps": 1}
    found = logged_by(tmp_path, tiny_bert, Pause(), seen, num_sanity_val_steps=0, **often)
    sentences = found["throughput/sentences_per_second"]
    steps = len(seen.batches)
    logged = [step for step, _ in sentences]
    assert logged
    assert logged == list(range(steps))
    for tag, place in (("sentences", 0), ("tokens", 1)):
        for step, value in found[f"throughput/{tag}_per_second"]:
            amount = seen.batches[step][place]  # Lightning's number: of the steps before it
            # a step takes 0.05 s and what the machine adds; 3 s of validation would show
            assert amount / 3 < value <= amount / 0.05
    rates = dict(found["throughput/flop_per_second"])
    shares = dict(found["throughput/fraction_of_matrix_rate"])
    assert rates.keys() == shares.keys() == set(logged)
    measured = {round(rates[step] / shares[step]) for step in logged}
    assert max(measured) / min(measured) == pytest.approx(1, rel=1e-3)


def test_every_fit_with_a_logger_logs_it(lit_mtl: Run, fit_arguments: list[str]) -> None:
    assert lit_mtl("fit", *fit_arguments) == 0
    found = scalars_of(run_folder(Path()))
    assert {tag for tag in found if tag.startswith("throughput/")} == {
        "throughput/sentences_per_second",
        "throughput/tokens_per_second",
        "throughput/flop_per_second",
        "throughput/fraction_of_matrix_rate",
    }


@pytest.mark.parametrize(("every", "epochs"), [(2, 3), (5, 3)])
def test_a_window_of_the_steps_of_an_epoch_is_logged(
    every: int, epochs: int, tiny_bert: Path, tmp_path: Path
) -> None:
    """Counting begins anew with each epoch, of five steps here."""
    few = {"limit_train_batches": 5, "limit_val_batches": 0}
    found = logged_by(tmp_path, tiny_bert, max_epochs=epochs, log_every_n_steps=every, **few)
    due = [step for step in range(5 * epochs) if (step + 1) % every == 0]
    # a window that the begin of an epoch has cut short is not logged
    expected = [step for step in due if step % 5 + 1 >= every]
    for name in ("sentences_per_second", "flop_per_second"):
        assert [step for step, _ in found[f"throughput/{name}"]] == expected


def test_a_step_of_several_batches_is_logged_once(tiny_bert: Path, tmp_path: Path) -> None:
    few = {"limit_train_batches": 6, "limit_val_batches": 0, "max_epochs": 2}
    found = logged_by(tmp_path, tiny_bert, log_every_n_steps=1, accumulate_grad_batches=2, **few)
    assert [step for step, _ in found["throughput/sentences_per_second"]] == list(range(6))
