"""Writes what `predict` finds, one JSON object a line, in the order of the input."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import distributed

from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.errors import ConfigError
from lit_mtl.files import write_atomically

_Rows = dict[int, dict[str, Any]]


class PredictionWriter(Callback):
    """Collects the predictions of all processes and writes them as JSON lines.

    Args:
        output: the file. None: `predictions.jsonl` beside the logs of the run.
    """

    def __init__(self, output: str | None = None) -> None:
        self.output = None if output is None else Path(output).expanduser()
        self._rows: _Rows = {}

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse to write over the file that is read."""
        source = _data(trainer).predict_path
        if self.output and source and self.output.resolve() == source.resolve():
            raise ConfigError(f"{self.output}: the output would overwrite the input")
        self._rows = {}

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the rows of a batch."""
        self._rows.update(outputs)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the rows of all processes and write them, from the first process."""
        rows = self._gathered(trainer)
        folder = Path(trainer.log_dir or ".")  # a collective call, so on every process
        if not trainer.is_global_zero:
            return
        path = self.output or folder / "predictions.jsonl"
        texts = _data(trainer).predict_texts()
        lines = [
            json.dumps({"text": texts[row], **rows[row]}, ensure_ascii=False) + "\n"
            for row in sorted(rows)
        ]
        write_atomically(path, "".join(lines).encode("utf-8"))
        left = f" of {len(texts)} sentences" if len(lines) < len(texts) else ""
        rank_zero_info(f"{len(lines)} predictions{left} are in {path}")

    def _gathered(self, trainer: Trainer) -> _Rows:
        if trainer.world_size == 1:
            return self._rows
        parts: list[_Rows] = [{} for _ in range(trainer.world_size)]
        distributed.all_gather_object(parts, self._rows)
        return {row: values for part in parts for row, values in part.items()}


def _data(trainer: Trainer) -> SentimentDataModule:
    datamodule = getattr(trainer, "datamodule", None)
    assert isinstance(datamodule, SentimentDataModule), "predict reads a SentimentDataModule"
    return datamodule
