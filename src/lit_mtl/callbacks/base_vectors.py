"""What the backbone gives for each training row before it is trained, computed once.

Shapes: R training rows, H hidden dimension.
"""

from functools import partial

from lightning.pytorch import Trainer
from torch import nn

from lit_mtl.callbacks.frozen_prefix import NotCachedError, agreed, made_of, running
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.data.prefix_store import PrefixStorage, PrefixStore
from lit_mtl.errors import ConfigError, StorageError
from lit_mtl.model.sentence_encoder import SentenceEncoder


def base_vectors(trainer: Trainer, encoder: SentenceEncoder) -> PrefixStore:
    """Pooled vectors of the training split, (R, H), in eval mode; a collective call.

    They are kept among the prepared data, by the content of all that they were made of, so that a
    run that goes on, and other runs with the same backbone and sentences, read the same numbers.

    Args:
        trainer: whose data, device and precision are used.
        encoder: on that device and in that precision; its projection is not used.

    Raises:
        ConfigError: if the rows do not come from a SentimentDataModule.
        StorageError: if the vectors cannot be written.
    """
    datamodule = getattr(trainer, "datamodule", None)
    if not isinstance(datamodule, SentimentDataModule) or datamodule.corpus is None:
        raise ConfigError(
            "The base's embeddings need a SentimentDataModule, whose rows have numbers"
        )
    layers = encoder.backbone.num_layers
    storage = PrefixStorage(
        dataset=datamodule.corpus.splits["train"],
        layers=layers,
        pooled=True,
        shares=trainer.num_devices,
    )
    folders = storage.folders(datamodule.cache, made_of(trainer, encoder, layers))
    modes = {module: module.training for module in encoder.modules()}
    encoder.eval()
    share = trainer.local_rank
    try:
        with running(trainer, encoder, layers) as prefix:
            agreed(trainer, partial(storage.fill, folders[share], prefix, share=share))
        return agreed(trainer, partial(storage.open, folders))
    except NotCachedError as reason:
        raise StorageError(f"The base's embeddings cannot be stored: {reason}") from reason
    finally:
        _set_modes(modes)


def _set_modes(modes: dict[nn.Module, bool]) -> None:
    for module, training in modes.items():
        module.training = training
