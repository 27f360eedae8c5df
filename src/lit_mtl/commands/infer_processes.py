"""`predict` and `embed` in several processes or on other devices, by Lightning's Trainer."""

from collections.abc import Iterator, Sequence
from typing import IO, Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser
from torch.utils.data import DataLoader, IterableDataset

from lit_mtl.artifact.inference import Inference
from lit_mtl.commands.lightning_cli import restrict_imports
from lit_mtl.commands.process_group import closing_process_group
from lit_mtl.commands.train import refusals
from lit_mtl.data.inputs import Window
from lit_mtl.errors import ConfigError
from lit_mtl.files import remove_partial
from lit_mtl.verbosity import Verbosity, verbosity


class _Windows(IterableDataset[Window]):
    def __init__(self, inference: Inference, rank: int, world_size: int) -> None:
        self._of = (inference, rank, world_size)

    def __iter__(self) -> Iterator[Window]:
        inference, rank, world_size = self._of
        return inference.windows_of(rank, world_size)


class InferenceModule(LightningModule):
    """Runs this process' windows; the first process joins what all have found.

    Args:
        inference: what is to be found.
    """

    def __init__(self, inference: Inference) -> None:
        super().__init__()
        self.inference = inference
        self.network = inference.model.network  # so that it is moved to the device
        self._part: IO[bytes] | None = None

    def predict_dataloader(self) -> DataLoader[Window]:
        """The windows of this process."""
        trainer = self.trainer
        windows = _Windows(self.inference, trainer.global_rank, trainer.world_size)
        return DataLoader(windows, batch_size=None)

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Texts stay where they are."""
        return batch

    def on_predict_start(self) -> None:
        """Open this process' part, once what an earlier run has left is gone."""
        output = self.inference.output
        if self.trainer.is_global_zero:
            output.parent.mkdir(parents=True, exist_ok=True)
            remove_partial(output.parent, output.name)
        self.trainer.strategy.barrier()
        self._part = self.inference.part(self.trainer.global_rank).open("wb")

    def predict_step(self, batch: Window, batch_idx: int) -> int:
        """Keep what is found of a window; its number of rows, since Lightning warns of nothing."""
        assert self._part is not None, "opened at the start"
        self.inference.write_part(batch, self._part)
        return len(batch.texts)

    def on_predict_end(self) -> None:
        """Join the parts, from the first process."""
        assert self._part is not None, "opened at the start"
        self._part.close()
        self.trainer.strategy.barrier()
        if self.trainer.is_global_zero:
            rows = self.inference.join(self.trainer.world_size)
            if verbosity() is not Verbosity.QUIET:
                print(f"{rows} rows are in {self.inference.output}")


def run_processes(inference: Inference, flags: Sequence[str]) -> None:
    """Run it under a Trainer.

    Args:
        inference: what is to be found.
        flags: `--trainer.<name>=<value>`.
    """
    restrict_imports()
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.set_defaults({"trainer.logger": False, "trainer.enable_checkpointing": False})
    settings = parser.instantiate_classes(parser.parse_args(list(flags))).trainer
    limit = settings.limit_predict_batches  # 1 is one batch, and 1.0 are all
    if settings.fast_dev_run or not (limit is None or (isinstance(limit, float) and limit == 1)):
        raise ConfigError(
            "`trainer.fast_dev_run` and `trainer.limit_predict_batches` cannot be set: the output has "
            "all rows"
        )
    with closing_process_group(), refusals():
        Trainer(**settings).predict(InferenceModule(inference), return_predictions=False)
