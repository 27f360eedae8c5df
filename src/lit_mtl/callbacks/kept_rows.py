"""Keeps what a trained model gives for each row of the test split, for comparisons by row."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.module import MultiTaskModule
from lit_mtl.paired import HeldOutRows, row_keys, save_rows

ROWS_FILE = "test_rows.pt"


class KeptRows(Callback):
    """Writes the test split's outputs and targets into the folder of the run, `test_rows.pt`."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what the test has gathered, from the first process."""
        folder = trainer.log_dir  # a collective call, so on every process
        if not trainer.is_global_zero:
            return
        datamodule = getattr(trainer, "datamodule", None)
        assert isinstance(datamodule, SentimentDataModule)
        assert isinstance(pl_module, MultiTaskModule)
        assert datamodule.corpus is not None
        assert folder is not None, "the run has a logger"
        keys = row_keys(datamodule.corpus.splits["test"]["text"][:])
        save_rows(
            Path(folder) / ROWS_FILE,
            {
                name: HeldOutRows(
                    task=pl_module.tasks[name],
                    keys=[keys[row] for row in pl_module.row_ids["test"][name].tolist()],
                    output=output,
                    target=target,
                )
                for name, (output, target) in pl_module.outputs["test"].items()
            },
        )
