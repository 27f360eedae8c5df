"""Runs the frozen prefix of the network once for each row of a stage, and not at every step.

Possible where a stage freezes the embeddings and the layers above them without a gap, in eval mode,
so that a row always gives the same. What is kept is the pooled vector of each row where the whole
backbone rests, and otherwise the hidden states of its tokens, from which the other layers go on.
"""

import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lit_mtl.callbacks.frozen_prefix import NotCachedError, agreed, made_of, running
from lit_mtl.callbacks.staged_freezing import StagedFreezing, network_of, steps_an_epoch
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.data.prefix_store import PrefixStorage, PrefixStore, remove
from lit_mtl.data.splits import Split
from lit_mtl.errors import ConfigError

_GB = 1e9


class PrefixCache(Callback):
    """Gives the module what the frozen prefix of the current stage computes, out of files.

    They are found again by the content of all that they were made of: the weights below the
    boundary, the token ids, the precision, the code. At the end of a stage and of the training they
    are removed. A run that was interrupted leaves them to the one that continues it.

    Args:
        mode: `auto` uses the cache in every stage where that is exact and where rows come more than
            once; `off` never does.
        max_gb: gigabytes of disk that a stage may take for it; one that would take more runs its
            frozen layers at every step.
        keep: whether the files stay, for later runs with the same data and frozen layers. What was
            not used for 30 days is removed.
    """

    def __init__(
        self, mode: Literal["auto", "off"] = "auto", max_gb: float = 20.0, keep: bool = False
    ) -> None:
        if mode not in ("auto", "off"):
            raise ConfigError(f"Expected argument `mode` to be auto or off, but got {mode!r}")
        if not max_gb > 0:
            raise ConfigError(f"Expected argument `max_gb` to be positive, but got {max_gb}")
        self.mode = mode
        self.max_gb = max_gb
        self.keep = keep
        self._stage: int | None = None
        self._decided: tuple[int, bool] | None = None
        self._own: list[Path] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin without a stage.

        Raises:
            ConfigError: if the callback that says what is frozen does not act before this one.
        """
        self._stage = None
        callbacks: list[Callback] = vars(trainer)["callbacks"]
        before = callbacks[: callbacks.index(self)]
        if not any(isinstance(callback, StagedFreezing) for callback in before):
            raise ConfigError("PrefixCache has to stand behind StagedFreezing among the callbacks")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Where a stage begins, or a run goes on in it, compute what its steps will read."""
        freezing = _freezing(trainer)
        if not freezing.stages or freezing.index == self._stage:
            return
        self._stage = freezing.index
        if self._goes_on(pl_module, freezing):
            self._decided = (freezing.index, True)
            said = "the same layers are frozen, whose output is cached already"
        else:
            self._release(pl_module)
            said = self._begun(trainer, pl_module, freezing)
        rank_zero_info(f"{freezing.stage}: {said}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing but the training may read what belongs to its last stage."""
        self._release(pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """The same; the files stay for the run that continues this one."""
        self._own.clear()
        self._release(pl_module)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget what a former fit has decided; what a checkpoint has of it is loaded afterwards."""
        if stage == "fit":
            self._decided = None

    def state_dict(self) -> dict[str, Any]:
        """Whether the rows of which stage come more than once, seen from its beginning."""
        return {"decided": None if self._decided is None else list(self._decided)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep to it, so that the rest of a stage reads what its beginning has read."""
        decided = state_dict["decided"]
        self._decided = None if decided is None else (decided[0], decided[1])

    def _release(self, pl_module: LightningModule) -> None:
        _cached(pl_module).clear()
        if not self.keep:
            remove(self._own)
        self._own.clear()

    def _goes_on(self, pl_module: LightningModule, freezing: StagedFreezing) -> bool:
        """Whether what the stage before this one read is right for this one too."""
        return any(store.layers == freezing.frozen_layers for store in _cached(pl_module).values())

    def _begun(self, trainer: Trainer, pl_module: LightningModule, freezing: StagedFreezing) -> str:
        """What became of the attempt."""
        try:
            return self._begin(trainer, pl_module, freezing)
        except NotCachedError as reason:
            self._release(pl_module)
            return f"nothing is cached of the frozen layers: {reason}"

    def _begin(self, trainer: Trainer, pl_module: LightningModule, freezing: StagedFreezing) -> str:
        """Fill and open the files, or raise with the reason why not; the same on all processes."""
        layers = self._cacheable_layers(trainer, freezing)
        encoder = network_of(pl_module).encoder
        with running(trainer, encoder, layers) as prefix:
            # two rows: compiled layers have variants of their own for one
            ids = torch.zeros(2, 3, dtype=torch.int64)
            probe = prefix(ids, torch.ones_like(ids))
            storages = _storages(trainer, layers=layers, pooled=probe.dim() == 2)
            vectors = sum(storage.vectors for storage in storages.values())
            size = vectors * probe.shape[-1] * probe.dtype.itemsize
            cache = _datamodule(trainer).cache
            key = made_of(trainer, encoder, layers) | {"dtype": str(probe.dtype)}
            folders = {split: storage.folders(cache, key) for split, storage in storages.items()}
            agreed(trainer, lambda: self._refuse_size(size, cache, folders.values()))
            for split, storage in storages.items():
                own = folders[split][trainer.local_rank]
                self._own.append(own)
                agreed(trainer, partial(storage.fill, own, prefix, share=trainer.local_rank))
        for split, storage in storages.items():
            _cached(pl_module)[split] = agreed(trainer, partial(storage.open, folders[split]))
        what = "pooled vectors" if probe.dim() == 2 else "hidden states"
        return f"the frozen layers ran once for each row; {size / 1e6:,.1f} MB of {what} are cached"

    def _cacheable_layers(self, trainer: Trainer, freezing: StagedFreezing) -> int:
        """Layers whose output a step can read, if it should."""
        layers = freezing.frozen_layers
        if self.mode == "off":
            raise NotCachedError("`prefix_cache.mode` is off")
        if layers is None:
            raise NotCachedError("the embeddings train")
        if layers == 0:
            raise NotCachedError("only the embeddings are frozen, which cost no more than reading")
        if not freezing.eval_mode:
            raise NotCachedError("`freezing.eval_mode` is off, so they have dropout")
        if not self._pays(trainer, freezing):
            raise NotCachedError("no row comes a second time")
        return layers

    def _pays(self, trainer: Trainer, freezing: StagedFreezing) -> bool:
        """Whether it has more batches than an epoch of all rows, seen from the stage's beginning."""
        if self._decided is None or self._decided[0] != freezing.index:
            steps = freezing.last_step(trainer) - trainer.global_step
            # of an epoch's last step fewer batches may be left than are accumulated elsewhere
            batches = steps / steps_an_epoch(trainer) * int(trainer.num_training_batches)
            pays = batches > len(_datamodule(trainer).train_sampler())
            self._decided = (freezing.index, pays)
        return self._decided[1]

    def _refuse_size(self, size: int, cache: Path, folders: Iterable[Iterable[Path]]) -> None:
        if size > self.max_gb * _GB:
            raise NotCachedError(
                f"{size / _GB:.3g} GB are more than `prefix_cache.max_gb`, {self.max_gb:g}"
            )
        there = all(folder.is_dir() for split in folders for folder in split)
        free = shutil.disk_usage(cache).free
        if size > free and not there:
            raise NotCachedError(f"{cache}: {size / _GB:.3g} GB are more than is free there")


def _datamodule(trainer: Trainer) -> SentimentDataModule:
    """The datamodule, whose rows have numbers."""
    datamodule = getattr(trainer, "datamodule", None)
    if not isinstance(datamodule, SentimentDataModule):
        raise NotCachedError("the rows do not come from a SentimentDataModule")
    return datamodule


def _freezing(trainer: Trainer) -> StagedFreezing:
    callbacks: list[Callback] = vars(trainer)["callbacks"]
    return next(callback for callback in callbacks if isinstance(callback, StagedFreezing))


def _cached(pl_module: LightningModule) -> dict[Split, PrefixStore]:
    """Where the module's steps look for what is cached."""
    cached = getattr(pl_module, "cached_prefix", None)
    assert isinstance(cached, dict), "the callback belongs to a MultiTaskModule"
    return cached


def _storages(trainer: Trainer, *, layers: int, pooled: bool) -> dict[Split, PrefixStorage]:
    """What is to be stored of the splits that the training reads."""
    corpus = _datamodule(trainer).corpus
    assert corpus is not None
    splits: list[Split] = ["train", "val"] if trainer.limit_val_batches else ["train"]
    return {
        split: PrefixStorage(
            dataset=corpus.splits[split], layers=layers, pooled=pooled, shares=trainer.num_devices
        )
        for split in splits
    }
