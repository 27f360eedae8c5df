"""The principal directions keep more of the cosines than any others, and what follows begins there."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.functional import normalize

from lit_mtl.callbacks.embedding_protection import NAME, EmbeddingProtection
from lit_mtl.callbacks.head_init import HeadInit
from lit_mtl.callbacks.projection_init import ProjectionInit
from lit_mtl.callbacks.staged_freezing import network_of
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.embedding_health import kept_similarity
from lit_mtl.errors import ConfigError
from lit_mtl.module import MultiTaskModule
from tests.conftest import Run, example_data
from tests.recipes import fitted
from tests.runs import last_state, run_folder, scalars_of


class Before(Callback):
    """Keeps the projection before the first step, and the pooled vectors and embeddings of all rows."""

    weight: Tensor
    bias: Tensor
    pooled: Tensor
    embedding: Tensor
    protection = -1.0

    def __init__(self, data: SentimentDataModule) -> None:
        self.data = data

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, MultiTaskModule)
        assert self.data.corpus is not None
        encoder = network_of(pl_module).encoder
        self.weight, self.bias = (
            part.detach().clone() for part in (encoder.projection.weight, encoder.projection.bias)
        )
        rows = range(len(self.data.corpus.splits["train"]))
        batch = self.data.batch_of("train", rows)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        encoder.eval()
        with torch.no_grad():
            self.pooled = encoder.prefix(ids, mask, layers=encoder.backbone.num_layers)
            self.embedding = encoder(ids, mask)
            if NAME in pl_module.regularizers:
                term = pl_module.regularizers[NAME].row_loss
                self.protection = float(term(self.embedding, batch["row_id"]).abs().max())
        encoder.train()


def begun(
    backbone: Path, method: Literal["orthogonal", "pca"], *callbacks: Callback, **model: Any
) -> Before:
    data = example_data(backbone)
    before = Before(data)
    fitted(
        backbone, ProjectionInit(method), *callbacks, before, data=data, model=model, max_epochs=1
    )
    return before


def kept_energy(weight: Tensor, vectors: Tensor) -> float:
    """Share of the squared length of unit vectors that a map with orthonormal rows keeps."""
    return float((normalize(vectors, dim=1) @ weight.T).square().sum() / len(vectors))


def test_it_keeps_what_the_largest_eigenvalues_say_and_no_other_map_keeps_more(
    tiny_bert: Path,
) -> None:
    pca = begun(tiny_bert, "pca")
    identity = torch.eye(16, dtype=torch.float64)
    torch.testing.assert_close(pca.weight @ pca.weight.T, identity, atol=1e-12, rtol=0)
    assert not pca.bias.any()
    singular = np.linalg.svd(normalize(pca.pooled, dim=1).numpy(), compute_uv=False) ** 2
    kept = kept_energy(pca.weight, pca.pooled)
    assert kept == pytest.approx(singular[:16].sum() / singular.sum(), rel=1e-10)
    random = begun(tiny_bert, "orthogonal")
    assert torch.equal(pca.pooled, random.pooled)
    assert kept > kept_energy(random.weight, random.pooled) + 0.05
    for seed in range(20):
        torch.manual_seed(seed)
        nearby = torch.linalg.qr((pca.weight + 0.1 * torch.randn_like(pca.weight)).T).Q.T
        assert kept > kept_energy(nearby, pca.pooled)


def test_more_of_the_similarities_is_kept_than_by_random_directions(tiny_bert: Path) -> None:
    pca, random = (begun(tiny_bert, method) for method in ("pca", "orthogonal"))
    kept = kept_similarity(pca.embedding, pca.pooled)
    assert kept > kept_similarity(random.embedding, random.pooled) + 0.02
    assert kept > 0.9


def test_protection_and_heads_begin_at_the_principal_directions(tiny_bert: Path) -> None:
    before = begun(tiny_bert, "pca", HeadInit("fitted"), EmbeddingProtection(1.0))
    assert torch.equal(before.weight, begun(tiny_bert, "pca").weight)
    assert 0 <= before.protection < 1e-12


def test_the_command_line_has_them_in_that_order(
    fit_arguments: list[str],
    steady_bert: Path,
    lit_mtl: Run,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At the first step and without dropout, nothing has moved from the principal directions."""
    words = [*fit_arguments, f"--model.backbone={steady_bert}", "--model.embedding_dim=16"]
    words += ["--protection.weight=1", "--head_init.method=fitted", "--projection_init.method=pca"]
    assert lit_mtl("fit", *words) == 0
    assert caplog.text.index("16 principal directions of") < caplog.text.index("begins fitted")
    drift = [value for _, value in scalars_of(run_folder(tmp_path))["train/protection"]]
    assert drift[0] == pytest.approx(0, abs=1e-6)
    assert drift[-1] > 1e-4


def test_enough_dimensions_keep_all_cosines_as_they_are(tiny_bert: Path) -> None:
    for size in (32, 40):
        pca, random = (
            begun(tiny_bert, method, embedding_dim=size) for method in ("pca", "orthogonal")
        )
        assert torch.equal(pca.weight, random.weight)
        assert kept_similarity(pca.embedding, pca.pooled) == pytest.approx(1, abs=1e-6)


def test_a_continued_run_goes_on_with_its_own(
    fit_arguments: list[str], lit_mtl: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["fit", *fit_arguments, "--projection_init.method=pca", "--model.embedding_dim=16"]
    assert lit_mtl(*words, "--checkpoint.every_n_steps=5") == 0
    state = run_folder(tmp_path) / "checkpoints" / "step_5.ckpt"
    assert lit_mtl(*words, f"--ckpt_path={state}") == 0
    ends = [last_state(run_folder(tmp_path, version)) for version in (0, 1)]
    for key, value in ends[0].items():
        if isinstance(value, Tensor):
            assert torch.equal(value, ends[1][key]), key
    words.remove("--projection_init.method=pca")
    assert lit_mtl(*words, f"--ckpt_path={state}") == 2
    assert "projection_init.method: 'pca' there, 'orthogonal' here" in capsys.readouterr().err


def test_an_unknown_way_is_refused() -> None:
    wrong: Any = "svd"
    with pytest.raises(ConfigError, match="orthogonal or pca"):
        ProjectionInit(wrong)
