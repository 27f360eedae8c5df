"""Lightning's own way of freezing and thawing a backbone, to be named in a config."""

from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import BaseFinetuning
from torch.optim import Optimizer

from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.module import MultiTaskModule


class UpstreamFinetuning(BaseFinetuning):
    """Freezes the backbone before training and thaws it after the first epoch."""

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
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.network.encoder.backbone, optimizer)
