"""The average has its closed form; it is what is validated and kept, and the training does not see it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_mtl.artifact.bundle import load_checkpoint
from lit_mtl.callbacks.checkpointing import Checkpointing
from lit_mtl.callbacks.staged_freezing import StagedFreezing
from lit_mtl.callbacks.weight_averaging import AveragedWeights
from lit_mtl.checkpoints import manifest_of
from lit_mtl.errors import ConfigError
from lit_mtl.module import MultiTaskModule
from lit_mtl.optim.freezing_plan import Stage
from tests.conftest import Run, example_data
from tests.recipes import State, States, fitted
from tests.runs import run_folder, scalars_of

DECAY = 0.6


def closed_form(states: list[State], steps: int) -> State:
    """decay^(k-1) w_1 + (1 - decay) sum of decay^(k-i) w_i over i = 2 ... k."""
    shares = [DECAY ** (steps - 1)]
    shares += [(1 - DECAY) * DECAY ** (steps - step) for step in range(2, steps + 1)]
    assert sum(shares) == pytest.approx(1)
    return {
        name: sum(share * state[name] for share, state in zip(shares, states, strict=False))  # type: ignore[misc]
        for name in states[0]
    }


def assert_close(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=1e-12, rtol=0)


def weights_of(path: Path) -> State:
    state = torch.load(path, weights_only=True)["state_dict"]
    return {name.removeprefix("_network."): value for name, value in state.items()}


def equal(one: State, other: State) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_average_has_its_closed_form_and_the_training_does_not_see_it(tiny_bert: Path) -> None:
    plain, states = States(), States()
    fitted(tiny_bert, plain)
    module, _ = fitted(tiny_bert, AveragedWeights(DECAY), states)
    for one, other in zip(plain.states, states.states, strict=True):
        assert equal(one, other)
    end = module.network.state_dict()
    assert_close(end, closed_form(states.states, len(states.states)))
    assert not equal(end, states.states[-1])


def test_it_averages_the_network_alone_where_loss_weights_are_learned(tiny_bert: Path) -> None:
    """They stand between the network's parameters and its buffers, which are paired by position."""
    learned, plain, states = {"loss_balancing": "uncertainty"}, States(), States()
    without, _ = fitted(tiny_bert, plain, model=learned)
    module, _ = fitted(tiny_bert, AveragedWeights(DECAY), states, model=learned)
    for one, other in zip(plain.states, states.states, strict=True):
        assert equal(one, other)
    assert_close(module.network.state_dict(), closed_form(states.states, len(states.states)))
    for one_buffer, other_buffer in zip(
        module.network.buffers(), without.network.buffers(), strict=True
    ):
        assert torch.equal(one_buffer, other_buffer)
    assert module.uncertainty is not None
    assert without.uncertainty is not None
    assert module.uncertainty.variances() == without.uncertainty.variances()
    assert module.uncertainty.log_variances.all()


def test_a_decay_of_0_is_training_without(tiny_bert: Path) -> None:
    plain, states = States(), States()
    fitted(tiny_bert, plain)
    module, _ = fitted(tiny_bert, AveragedWeights(0.0), states)
    for one, other in zip(plain.states, states.states, strict=True):
        assert equal(one, other)
    assert equal(module.network.state_dict(), plain.states[-1])


def test_it_counts_optimizer_steps_and_not_batches(tiny_bert: Path) -> None:
    states = States()
    module, trainer = fitted(
        tiny_bert, AveragedWeights(DECAY), states, accumulate_grad_batches=2, max_epochs=3
    )
    after: list[State] = []
    for state in states.states:  # a batch without a step leaves the weights as they are
        if not after or not equal(state, after[-1]):
            after.append(state)
    base = len(after) - trainer.global_step  # the state before the first step, of its first batch
    assert base == 1
    assert_close(module.network.state_dict(), closed_form(after[1:], trainer.global_step))


class Validated(Callback):
    """Keeps what each validation has seen, which callbacks before the averaging see at its end too."""

    def __init__(self) -> None:
        self.seen: dict[int, State] = {}

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        assert isinstance(pl_module, MultiTaskModule)
        state = pl_module.network.state_dict()
        self.seen[trainer.global_step] = {name: value.clone() for name, value in state.items()}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, MultiTaskModule)
        assert equal(self.seen[trainer.global_step], pl_module.network.state_dict())


def test_what_is_validated_is_kept_as_the_best_and_nothing_is_exchanged_later(
    tiny_bert: Path, tmp_path: Path
) -> None:
    states, seen = States(), Validated()
    checkpoints = Checkpointing(every_n_steps=2, keep=99, dirpath=str(tmp_path / "kept"))
    data = example_data(tiny_bert)
    module, trainer = fitted(
        tiny_bert, seen, AveragedWeights(DECAY), states, checkpoints, data=data, max_epochs=3
    )
    for step, state in seen.seen.items():
        assert_close(state, closed_form(states.states, step))
    assert len(seen.seen) == 3
    best = (tmp_path / "kept" / "best.ckpt").resolve()
    step = int(best.stem.removeprefix("best_"))
    assert equal(weights_of(best), seen.seen[step])
    for path in (tmp_path / "kept").glob("step_*.ckpt"):
        assert_close(weights_of(path), closed_form(states.states, int(path.stem[5:])))
    states_kept = sorted((tmp_path / "kept").glob("step_*.ckpt"))
    for path in (best, *states_kept):
        trainer.validate(module, datamodule=data, ckpt_path=path, weights_only=True, verbose=False)
        assert equal(seen.seen[trainer.global_step], weights_of(path))
        assert equal(module.network.state_dict(), weights_of(path))


def test_frozen_parts_stay_what_they_are_to_the_bit(tiny_bert: Path) -> None:
    """Those that have never moved, in the average; those that are frozen again, in the training."""
    stages = [
        Stage(name="heads", freeze=("backbone",), until_step=3),
        Stage(name="top", freeze=("backbone.embeddings", "backbone.layers[:1]"), until_step=6),
        Stage(name="heads again", freeze=("backbone",)),
    ]
    states, averaging = States(), AveragedWeights(0.9)
    module, _ = fitted(tiny_bert, StagedFreezing(stages), averaging, states)
    first, last = states.states[0], states.states[-1]
    end = module.network.state_dict()
    low = [name for name in end if "embeddings" in name or ".layer.0." in name]
    high = [name for name in end if ".layer.1." in name]
    assert len(low) > 10
    for name in low:
        assert torch.equal(end[name], first[name])
        assert torch.equal(last[name], first[name])
    for name in high:
        assert torch.equal(states.states[5][name], last[name])
    assert any(not torch.equal(end[name], last[name]) for name in high)


CACHED = """{name: all, until_step: 4}, {name: top, freeze: [backbone.embeddings, 'backbone.layers[:1]']}"""


def test_a_cached_prefix_is_not_taken_for_that_of_the_average(
    fit_arguments: list[str], lit_mtl: Run, tmp_path: Path
) -> None:
    words = ["fit", *fit_arguments, f"--freezing.stages=[{CACHED}]", "--averaging.decay=0.9"]
    words += ["--model.lr=1e-2", "--trainer.max_epochs=3", "--trainer.precision=64-true"]
    words += ["--dashboards.enabled=false"]
    for mode in ("auto", "off"):
        assert lit_mtl(*words, f"--prefix_cache.mode={mode}") == 0
    losses = [
        [value for _, value in scalars_of(run_folder(tmp_path, version))["val/loss"]]
        for version in (0, 1)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert len(losses[0]) == 3


@pytest.mark.slow
def test_results_and_predictions_are_those_of_the_average(
    fit_arguments: list[str], lit_mtl: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", *fit_arguments, "--averaging.decay=0.9", "--model.lr=5e-3"]
    assert lit_mtl(*words) == 0
    run = run_folder(tmp_path)
    best = run / "checkpoints" / "best.ckpt"
    in_training = [value for _, value in scalars_of(run)["val/selection"]]
    manifest = json.loads(manifest_of(best.resolve()).read_text())
    results = json.loads((run / "results.json").read_text())["results"]["val"]
    found = [results["sentiment"]["accuracy"], results["score"]["pearson"]]
    assert sum(found) / 2 == pytest.approx(manifest["val/selection"], rel=1e-5)
    assert manifest["val/selection"] == pytest.approx(max(in_training), rel=1e-6)
    model, expected = load_checkpoint(best), weights_of(best)
    assert equal(model.network.state_dict(), expected)
    assert lit_mtl("export", "--ckpt_path", best, "--output", tmp_path / "out") == 0
    assert lit_mtl(*words, "--ckpt_path=auto", "--averaging.decay=0.8") == 2
    assert "averaging.decay: 0.9 there, 0.8 here" in capsys.readouterr().err


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_is_none_is_refused(decay: float) -> None:
    with pytest.raises(ConfigError, match=r"`decay` to be in \[0, 1\)"):
        AveragedWeights(decay)


def test_a_second_fit_with_the_same_callback_averages_its_own_weights(tiny_bert: Path) -> None:
    averaged = AveragedWeights(DECAY)
    first, _ = fitted(tiny_bert, averaged)
    second, _ = fitted(tiny_bert, averaged)
    assert equal(first.network.state_dict(), second.network.state_dict())


def test_a_checkpoint_of_weights_alone_that_would_not_be_the_average_is_refused(
    tiny_bert: Path, tmp_path: Path
) -> None:
    saves = ModelCheckpoint(tmp_path, save_weights_only=True)
    with pytest.raises(ConfigError, match="without `save_weights_only`"):
        fitted(tiny_bert, AveragedWeights(DECAY), saves)
