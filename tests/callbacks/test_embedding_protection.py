"""The term is what it says, keeps the embedding, costs one pass, and is off at a weight of 0."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from transformers import AutoModel

from lit_mtl.callbacks.embedding_protection import NAME, EmbeddingProtection
from lit_mtl.callbacks.staged_freezing import network_of
from lit_mtl.embedding_health import kept_similarity
from lit_mtl.errors import ConfigError
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.module import MultiTaskModule
from tests.conftest import example_data, save_tiny_backbone
from tests.recipes import States, fitted


class Base(Callback):
    """Keeps the network as it is before the first step, in eval mode."""

    network: MultiTaskModel

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        network = network_of(pl_module)
        self.network = MultiTaskModel.from_spec(network.spec()).double().eval()
        self.network.load_state_dict(network.state_dict())


class Gradients(Base):
    """The term's value and gradient at each step's embeddings, as found and by their formulas."""

    def __init__(self) -> None:
        self.differences: list[float] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, MultiTaskModule)
        with torch.no_grad():
            given = self.network(batch["input_ids"], batch["attention_mask"]).sentence_embedding
        here = torch.randn_like(given).requires_grad_()
        found = pl_module.regularizers[NAME].row_loss(here, batch["row_id"])
        (gradient,) = torch.autograd.grad(found.sum(), here)
        value, expected = by_hand(here.detach(), given)
        self.differences += [
            float((found.detach() - value).abs().max()),
            float((gradient - expected).abs().max()),
        ]


def by_hand(here: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """1 - cos, and its gradient (cos * x / |x| - b / |b|) / |x|."""
    length = here.norm(dim=1, keepdim=True)
    unit, other = here / length, base / base.norm(dim=1, keepdim=True)
    cosine = (unit * other).sum(dim=1, keepdim=True)
    return 1 - cosine.squeeze(1), (cosine * unit - other) / length


def test_value_and_gradient_are_those_of_the_network_before_the_first_step(tiny_bert: Path) -> None:
    gradients = Gradients()
    fitted(tiny_bert, EmbeddingProtection(1.0), gradients)
    assert len(gradients.differences) == 20
    assert max(gradients.differences) < 1e-9


def test_it_is_what_the_loss_has_beyond_the_tasks(steady_bert: Path) -> None:
    """At the first step it is 0 to the eye: nothing has moved, and there is no dropout."""
    keys = ("train/loss", "train/protection", "train/sentiment/loss", "train/score/loss")
    states = States(*keys)
    module, _ = fitted(steady_bert, EmbeddingProtection(0.7), states, log_every_n_steps=1)
    total, term, sentiment, score = (states.logged[key] for key in keys)
    assert term[0] == pytest.approx(0, abs=1e-9)
    assert min(term[1:]) > 1e-6
    for parts in zip(total, term, sentiment, score, strict=True):
        assert parts[0] == pytest.approx(0.7 * parts[1] + parts[2] + parts[3])
    assert module.regularizers == {}, "what is trained or measured afterwards has no such term"


def test_a_weight_of_0_is_training_without_to_the_bit(tiny_bert: Path) -> None:
    without, zero, one = (States() for _ in range(3))
    fitted(tiny_bert, without)
    fitted(tiny_bert, EmbeddingProtection(0.0), zero)
    fitted(tiny_bert, EmbeddingProtection(1.0), one)
    for first, second in zip(without.states, zero.states, strict=True):
        assert all(torch.equal(value, second[name]) for name, value in first.items())
    last = without.states[-1]
    assert any(not torch.equal(value, one.states[-1][name]) for name, value in last.items())


def test_the_more_it_weighs_the_more_of_the_similarity_is_kept(tiny_bert: Path) -> None:
    kept = []
    for weight in (0.0, 3.0, 30.0):
        data, base = example_data(tiny_bert), Base()
        settings = {"lr": 3e-3, "embedding_dim": 256}
        module, _ = fitted(
            tiny_bert, EmbeddingProtection(weight), base, data=data, model=settings, max_epochs=5
        )
        assert data.corpus is not None
        batch = data.batch_of("train", range(len(data.corpus.splits["train"])))
        ids, mask = batch["input_ids"], batch["attention_mask"]
        with torch.no_grad():
            here, there = (
                network.double().eval().encoder(ids, mask)
                for network in (module.network, base.network)
            )
        kept.append(kept_similarity(here, there))
    assert kept == sorted(kept)
    assert kept[0] < 0.6
    assert kept[2] > 0.75


def test_a_random_backbone_has_nothing_to_keep(tiny_bert: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.pretrained"):
        fitted(tiny_bert, EmbeddingProtection(1.0), model={"pretrained": False})


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 0"):
        EmbeddingProtection(-1.0)


def test_a_continued_run_refuses_a_backbone_that_was_exchanged(
    lit_mtl: Any, fit_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = save_tiny_backbone(tmp_path / "backbone")
    words = ["fit", *fit_arguments, f"--model.backbone={backbone}", "--protection.weight=1"]
    assert lit_mtl(*words, "--trainer.limit_val_batches=0", "--checkpoint.every_n_steps=5") == 0
    states = sorted((tmp_path / "lightning_logs/runs/version_0/checkpoints").glob("step_5.ckpt"))
    words += ["--trainer.limit_val_batches=0", f"--ckpt_path={states[0]}"]
    assert lit_mtl(*words) == 0
    other = AutoModel.from_pretrained(backbone)
    with torch.no_grad():
        next(other.encoder.layer[1].parameters())[0, 0] += 1e-3
    other.save_pretrained(backbone)
    assert lit_mtl(*words) != 0
    assert "other weights than those" in capsys.readouterr().err


def test_it_leaves_nothing_in_the_model(tiny_bert: Path) -> None:
    plain, _ = fitted(tiny_bert)
    found, _ = fitted(tiny_bert, EmbeddingProtection(1.0))
    assert list(found.state_dict()) == list(plain.state_dict())
