"""A callback that writes down which tasks the rows of each training batch are labelled for."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_mtl.data.datamodule import SentimentDataModule

FILE = "labelled_rows.jsonl"


class LabelledRows(Callback):
    """Appends a line a batch: each sentence with the tasks for which it is labelled."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, SentimentDataModule)
        assert data.corpus is not None
        texts = data.corpus.splits["train"].select(batch["row_id"].tolist())["text"]
        line = {
            text: [task for task, labelled in batch["labelled"].items() if labelled[row]]
            for row, text in enumerate(texts)
        }
        with Path(FILE).open("a") as file:
            file.write(json.dumps(line) + "\n")
