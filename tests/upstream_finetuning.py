"""Lightning's own way of freezing and thawing a backbone, to be named in a config."""

from collections.abc import Sequence

from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import BaseFinetuning
from torch import nn
from torch.optim import Optimizer

from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.module import MultiTaskModule


class UpstreamFinetuning(BaseFinetuning):
    """Freezes the backbone, then thaws its top layer after an epoch and the rest after another.

    All that `BackboneFinetuning` does comes from this base; itself it knows two stages only.
    """

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, MultiTaskModule)
        datamodule = getattr(pl_module.trainer, "datamodule", None)
        assert isinstance(datamodule, SentimentDataModule)
        pl_module.build(datamodule.tasks)
        self.freeze(pl_module.network.encoder.backbone)

    def finetune_function(
        self, pl_module: LightningModule, epoch: int, optimizer: Optimizer
    ) -> None:
        assert isinstance(pl_module, MultiTaskModule)
        if thawed := self._stages(pl_module)[epoch]:
            self.unfreeze_and_add_param_group(thawed, optimizer)

    def _stages(self, pl_module: MultiTaskModule) -> Sequence[list[nn.Module]]:
        """What each epoch thaws."""
        transformer = pl_module.network.encoder.backbone.transformer
        low, top = transformer.get_submodule("encoder.layer").children()
        return [], [top], [transformer.get_submodule("embeddings"), low]
