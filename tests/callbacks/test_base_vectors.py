"""Each training row's vector is what the untouched backbone gives it alone, and is computed once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_mtl.callbacks.base_vectors import base_vectors
from lit_mtl.callbacks.staged_freezing import network_of
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.errors import StorageError
from tests.conftest import example_data
from tests.recipes import fitted


class Looks(Callback):
    """Asks for the vectors before the first step, counts what runs for it, and compares them with those of single rows."""

    def __init__(self) -> None:
        self.differences: list[float] = []
        self.calls = 0
        self.modes: set[bool] = set()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = vars(trainer)["datamodule"]
        assert isinstance(data, SentimentDataModule)
        encoder = network_of(pl_module).encoder
        hook = encoder.backbone._layers[0].register_forward_hook(self._called)
        store = base_vectors(trainer, encoder)
        hook.remove()
        self.modes = {module.training for module in encoder.modules()}
        encoder.eval()
        with torch.no_grad():
            for row in (0, 7, 11):
                batch = data.batch_of("train", [row])
                ids, mask = batch["input_ids"], batch["attention_mask"]
                alone = encoder.prefix(ids, mask, layers=encoder.backbone.num_layers)
                difference = store.rows(batch["row_id"]) - alone
                self.differences.append(float(difference.abs().max()))
        encoder.train()

    def _called(self, *_: Any) -> None:
        self.calls += 1


def test_they_are_those_of_the_backbone_in_eval_mode_and_are_found_again(
    tiny_bert: Path, tmp_path: Path
) -> None:
    runs = []
    for _ in range(2):
        looks = Looks()
        data = example_data(tiny_bert, cache_dir=str(tmp_path / "cache"))
        fitted(tiny_bert, looks, data=data, max_epochs=1)
        assert len(looks.differences) == 3
        assert max(looks.differences) < 1e-9
        assert looks.modes == {True}, "what follows trains as it would have"
        runs.append(looks.calls)
    assert runs[0] > 0
    assert runs[1] == 0


def test_a_full_disk_is_an_error_that_says_so(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    data = example_data(tiny_bert, cache_dir=str(tmp_path / "cache"))
    data.prepare_data()
    monkeypatch.setattr("lit_mtl.data.prefix_store.os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        fitted(tiny_bert, Looks(), data=data)
