"""The LightningDataModule: files in, batches out.

Shapes: B rows, T tokens of the longest row in the batch.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from lit_mtl.data.batch import Batch, batch_columns, make_batch
from lit_mtl.data.batching import LengthGroupedSampler, Mixture
from lit_mtl.data.cache import default_cache
from lit_mtl.data.corpus import Corpus, token_counts
from lit_mtl.data.downloads import CorpusName, prepare_corpora
from lit_mtl.data.in_hand import Row, RowsInHand
from lit_mtl.data.joining import Contradictions
from lit_mtl.data.mixing import Mixing, source_rows
from lit_mtl.data.preparation import Preparation
from lit_mtl.data.sources import Source, refuse_wrong_sources
from lit_mtl.data.splits import SPLITS, Split, Splitter
from lit_mtl.errors import ConfigError, DataError, LitMTLError
from lit_mtl.pretrained import pack_tokenizer
from lit_mtl.tasks import AnyTask, Classification, Regression
from lit_mtl.tasks.base import Task

DEFAULT_TASKS: dict[str, AnyTask] = {
    "sentiment": Classification(),
    "score": Regression(low=-4.0, high=4.0),
}
"""The two tasks of the mission: positive or negative, and a score on the scale of the corpora."""

_BATCH_SIZE = 32

_SHORTEST = 3
"""Tokens of the shortest sentence: a word between the two special ones."""

_SHOWN_ROWS = 40
"""Rows that a message names."""


class SentimentDataModule(LightningDataModule):
    """Loads sentences with targets of any tasks, and splits, tokenises and batches them.

    What is read is prepared once and kept in `cache_dir`, by its content.

    Args:
        path: a folder with one `<label>.txt` a class, tables, or both; a table; a saved dataset; or
            `hub:<name>`. The only source, of which everything else is found out.
        sources: sources by name, instead of `path` and `corpus`; see `Source`.
        corpus: the rated corpus of the only source; see `Source`.
        corpus_archive: the archive of the rated corpora on disk, for machines without a network.
        tasks: the declared tasks; those without data are left out.
        max_length: tokens of a sentence at most; longer ones are cut and counted.
        batch_size: rows a training batch and process; with `batch_tokens`, the most of them. None: 32
            rows, or as many as `batch_tokens` allows.
        batch_tokens: tokens of a training batch and process at most, padding included: rows times the
            longest row. Batches of short sentences then have more rows than those of long ones.
            A step's loss is the mean over its labelled rows, so a row counts more where they are few:
            long sentences weigh more in an epoch than with a fixed number of rows. None: no such
            limit, and the same number of rows in all batches.
        eval_batch_size: rows a batch and process in validation and test.
        val_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        stratify: a task of whose labels each split gets its share. None: shares of all sentences.
        folds: cross-validation: the test split is one of so many folds. None: `test_fraction`.
        fold: which of them, from 0.
        mixing: how often the sources are drawn; see `data.mixing`.
        mixing_temperature: of the mixing `temperature`.
        seed: seed of the order of the training rows.
        num_workers: worker processes of each loader; 0 loads in the training process.
        worker_timeout: seconds to wait for a worker's batch before the run ends with an error.
        contradictions: what becomes of a sentence with several labels for one task: `error` refuses
            the data, `drop` takes the sentence's label away, `keep` takes the most frequent one, the
            first read of those that are equally frequent.
        cache_dir: where prepared data are kept. None: `lit_mtl` in the user's folder for caches. What
            was not used for 30 days is removed.
    """

    def __init__(
        self,
        path: str | None = None,
        *,
        sources: dict[str, Source] | None = None,
        corpus: CorpusName | None = None,
        corpus_archive: str | None = None,
        tasks: Mapping[str, AnyTask] | None = None,
        max_length: int = 128,
        batch_size: int | None = None,
        batch_tokens: int | None = None,
        eval_batch_size: int = 128,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        stratify: str | None = None,
        folds: int | None = None,
        fold: int = 0,
        mixing: Mixing = "proportional",
        mixing_temperature: float = 1.0,
        seed: int = 0,
        num_workers: int = 0,
        worker_timeout: float = 300.0,
        contradictions: Contradictions = "error",
        cache_dir: str | None = None,
    ) -> None:
        super().__init__()
        sizes = {"batch_size": (batch_size, 1), "eval_batch_size": (eval_batch_size, 1)}
        sizes["max_length"] = (max_length, _SHORTEST)
        for name, (value, least) in sizes.items():
            if value is not None and value < least:
                raise ConfigError(
                    f"Expected argument `{name}` to be at least {least}, but got {value}"
                )
        if batch_tokens is not None:
            _refuse_contradictions(batch_tokens, batch_size=batch_size, max_length=max_length)
        self.sources = dict(sources or {})
        if path is not None or corpus is not None:
            if sources:
                raise ConfigError(
                    "Expected either `sources`, or `path` and `corpus` of the only one, but got both"
                )
            self.sources = {"data": Source(path=path, corpus=corpus)}
        refuse_wrong_sources(self.sources)
        _refuse_other_kinds(tasks or {}, contradictions=contradictions, mixing=mixing)
        self.corpus_archive = None if corpus_archive is None else Path(corpus_archive)
        self.declared_tasks: dict[str, Task] = dict(DEFAULT_TASKS if tasks is None else tasks)
        self.max_length = max_length
        # a row has a token at least
        self.batch_size = batch_size or batch_tokens or _BATCH_SIZE
        self.batch_tokens = batch_tokens
        self.eval_batch_size = eval_batch_size
        self.splitter = Splitter(
            val_fraction=val_fraction, test_fraction=test_fraction, folds=folds, fold=fold
        )
        self.stratify = stratify
        self.mixing: Mixing = mixing
        self.mixing_temperature = mixing_temperature
        self.seed = seed
        self.num_workers = num_workers
        self.worker_timeout = worker_timeout
        self.contradictions: Contradictions = contradictions
        self.cache = default_cache() if cache_dir is None else Path(cache_dir).expanduser()
        self.corpus: Corpus | None = None
        self.position = (0, 0)
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._in_hand: dict[Split, RowsInHand] = {}

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks that have data; known after `setup`. None of them where only texts were read."""
        return {} if self.corpus is None else self.corpus.tasks

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """That of the module under a Trainer, so that it can be no other one; or one that was set.

        Its `model_max_length` becomes `max_length`, and travels with it in the checkpoint.

        Raises:
            ConfigError: if there is neither.
        """
        if self._tokenizer is None:
            module = getattr(self.trainer, "lightning_module", None)
            if module is None:
                raise ConfigError("Without a Trainer, set the datamodule's `tokenizer` first")
            self.tokenizer = module.tokenizer
        assert self._tokenizer is not None
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.model_max_length < self.max_length:
            rank_zero_warn(
                f"`data.max_length` is {self.max_length}, but this model takes sentences of at most "
                f"{tokenizer.model_max_length} tokens: longer ones are cut there"
            )
        tokenizer.model_max_length = min(tokenizer.model_max_length, self.max_length)
        self._tokenizer = tokenizer

    def prepare_data(self) -> None:
        """Fetch the rated corpora that are named, and prepare the data: in one process a machine."""
        prepare_corpora(
            [
                (source.corpus, Path(source.place).expanduser())
                for source in self.sources.values()
                if source.corpus is not None
            ],
            archive=self.corpus_archive,
        )
        with suppress(LitMTLError):  # all processes raise it in `setup`, so that none waits
            self._follow_module()
            if self.corpus is None:  # otherwise the training goes on with what it began with
                self._prepare()

    def setup(self, stage: str) -> None:
        """Open the prepared data, once for all stages of a module."""
        self._follow_module()
        if self.corpus is None:
            self.corpus = Corpus.open(self._prepare())
        if stage == "fit":
            self.position = (0, 0)  # of a checkpoint, it is loaded afterwards
            # what is measured at the end should be there before hours of training
            for split in SPLITS if self.has_test else SPLITS[:2]:
                self._split(split)

    def _follow_module(self) -> None:
        """Take the tokenizer of another module than before; what was prepared with other ids is let go of."""
        before = self._tokenizer
        module = None if before is None else getattr(self.trainer, "lightning_module", None)
        tokenizer = getattr(module, "tokenizer", before)
        if before is None or tokenizer is None or tokenizer is before:
            return
        self.tokenizer = tokenizer
        if _content_of(tokenizer) != _content_of(before):
            self.corpus = None

    @property
    def has_test(self) -> bool:
        """Whether there is a test split, by hash or by files; known after `setup`."""
        return self.splitter.has_test or bool(self.corpus and len(self.corpus.splits["test"]))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the training split in a new order each epoch, from `position` on."""
        return self._loader("train", self.train_sampler())

    def train_sampler(self) -> LengthGroupedSampler:
        """The order of the training rows, from `position` on."""
        return self._sampler("train", seed=self.seed)

    def val_sampler(self, *, rank: int | None = None) -> LengthGroupedSampler:
        """The order of the validation rows of this process, or of another one."""
        return self._sampler("val", rank=rank)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint says of the data: the position in it, and which data it was."""
        assert self.corpus is not None, "the datamodule is set up"
        return {
            "position": list(self.position),
            "fingerprint": self.corpus.fingerprint,
            "sentences": {split: len(self.corpus.splits[split]) for split in SPLITS},
            "order": {
                name: getattr(self, name)
                for name in ("seed", "batch_size", "batch_tokens", "mixing", "mixing_temperature")
            },
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at a checkpoint's position; whether its data are these matters only to a fit."""
        epoch, batches = state_dict["position"]
        self.position = (epoch, batches)
        if self.position == (0, 0) and self.trainer and self.trainer.state.fn == TrainerFn.FITTING:
            rank_zero_warn(
                "The checkpoint does not say how far its training was in the data, so rows come again and "
                "others are left out: it was made without the callback `Checkpointing`"
            )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches of the validation split."""
        return self._loader("val", self.val_sampler())

    def test_dataloader(self) -> DataLoader[Batch]:
        """Batches of the test split."""
        return self._loader("test", self._sampler("test"))

    def collate(self, in_hand: RowsInHand, rows: pa.Table) -> Batch:
        """Make a batch of rows; in a worker process, if there are any.

        Args:
            in_hand: where they are noted meanwhile.
            rows: rows with the columns of `batch_columns`.

        Raises:
            DataError: naming the rows, whatever went wrong.
        """
        files, numbers = (rows.column(name).to_numpy().tolist() for name in ("file", "number"))
        try:
            with in_hand.noted(files, numbers):
                return self._batch(rows)
        except Exception as error:
            raise DataError(
                f"{self._named(list(zip(files, numbers, strict=True)))}: no batch could be made of "
                f"these rows ({error!r})"
            ) from error

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Lightning's, unless the batch is there: it would look at each of its entries."""
        if batch["row_id"].device == device:
            return batch
        moved: Batch = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return moved

    def batch_of(self, split: Split, rows: Sequence[int]) -> Batch:
        """Some rows of a split, by their numbers, as one batch."""
        return self._batch(self._rows(split)[list(rows)])

    def rows_in_hand(self) -> str:
        """Which rows the workers were making batches of, when one has died or does not answer."""
        return self._named([row for loader in self._in_hand.values() for row in loader.left()])

    def _batch(self, rows: pa.Table) -> Batch:
        return make_batch(rows, self.tasks, pad=int(self.tokenizer.pad_token_id or 0))

    def _rows(self, split: Split) -> Dataset:
        """The rows of a split with what a batch is made of, as Arrow gives them."""
        dataset = self._split(split)
        columns = [name for name in batch_columns(self.tasks) if name in dataset.column_names]
        return dataset.select_columns(columns).with_format("arrow")

    def _mixture(self) -> Mixture | None:
        """How often each source is drawn; None for every row once."""
        if self.mixing == "proportional":
            return None
        assert self.corpus is not None
        source = self.corpus.source_of("train")
        names = self.corpus.sources
        rows = source_rows(
            np.bincount(source, minlength=len(names)).tolist(),
            mixing=self.mixing,
            temperature=self.mixing_temperature,
            weights=[self.sources[name].weight for name in names],
        )
        return Mixture(source, rows)

    def _named(self, rows: Sequence[Row]) -> str:
        """Rows as people find them, the first of many."""
        assert self.corpus is not None
        shown = ", ".join(self.corpus.where(file, number) for file, number in rows[:_SHOWN_ROWS])
        more = len(rows) - _SHOWN_ROWS
        return f"{shown} and {more} more" if more > 0 else shown

    def _prepare(self) -> Path:
        """The folder of the prepared data.

        Raises:
            ConfigError: if no data are named; before a tokenizer is asked for, which may be far away.
            LitMTLError: for what is wrong with them.
        """
        if not self.sources:
            raise ConfigError(
                "No data: name a folder or table with `data.path`, several with `data.sources`, or a "
                "rated corpus with `data.corpus`"
            )
        preparation = Preparation(
            sources=self.sources,
            tasks=self.declared_tasks,
            splitter=self.splitter,
            stratify=self.stratify,
            contradictions=self.contradictions,
            tokenizer=self.tokenizer,
        )
        return preparation.ensure_in(self.cache, trained=self._trained_tasks())

    def _trained_tasks(self) -> Mapping[str, Task]:
        """The tasks of the model that is measured; none while one is trained, which has the data's."""
        if self.trainer is None or self.trainer.state.fn == TrainerFn.FITTING:
            return {}
        with suppress(ConfigError):  # it may not be built yet
            return getattr(self.trainer.lightning_module, "tasks", {})
        return {}

    def _split(self, split: Split) -> Dataset:
        assert self.corpus is not None, "the datamodule is set up"
        dataset = self.corpus.splits[split]
        if not len(dataset):
            raise ConfigError(
                f"The {split} split holds no sentence: expected more of them, or other shares than "
                f"{self.splitter}"
            )
        return dataset

    def _sampler(
        self, split: Split, *, seed: int | None = None, rank: int | None = None
    ) -> LengthGroupedSampler:
        """Batches of a split for a process: training ones with a seed, else those of evaluation."""
        trainer = self.trainer
        own = trainer.global_rank if trainer else 0
        return LengthGroupedSampler(
            token_counts(self._split(split)),
            batch_size=self.eval_batch_size if seed is None else self.batch_size,
            seed=seed,
            rank=own if rank is None else rank,
            world_size=trainer.world_size if trainer else 1,
            start=(0, 0) if seed is None else self.position,
            mixture=None if seed is None else self._mixture(),
            batch_tokens=self.batch_tokens,
        )

    def _loader(self, split: Split, sampler: LengthGroupedSampler) -> DataLoader[Batch]:
        if getattr(self.trainer, "overfit_batches", 0):
            raise ConfigError("`overfit_batches` is not supported: use `limit_train_batches`")
        self._in_hand[split] = RowsInHand(self.num_workers, sampler.most_rows)
        return DataLoader(
            self._rows(split),
            batch_size=None,  # the sampler yields whole batches, which Arrow reads at once
            sampler=sampler,
            collate_fn=partial(self.collate, self._in_hand[split]),
            num_workers=self.num_workers,
            timeout=self.worker_timeout if self.num_workers else 0,
            pin_memory=torch.cuda.is_available(),
        )


def _content_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, bytes]:
    return {name: part.numpy().tobytes() for name, part in pack_tokenizer(tokenizer).items()}


def _refuse_other_kinds(tasks: Mapping[str, Any], *, contradictions: str, mixing: str) -> None:
    """From Python, anything may be given; the command line has looked at it before.

    Raises:
        ConfigError: naming the argument.
    """
    for name, task in tasks.items():
        if not isinstance(task, Task):
            raise ConfigError(
                f"Expected the task {name!r} to be one, such as Classification(), but got {task!r}"
            )
    chosen = {
        "contradictions": (contradictions, get_args(Contradictions)),
        "mixing": (mixing, get_args(Mixing)),
    }
    for name, (value, choices) in chosen.items():
        if value not in choices:
            raise ConfigError(
                f"Expected argument `{name}` to be one of {', '.join(choices)}, but got {value!r}"
            )


def _refuse_contradictions(batch_tokens: int, *, batch_size: int | None, max_length: int) -> None:
    """A budget must hold the longest sentence, and be more than what a number of rows needs.

    Raises:
        ConfigError: naming both options.
    """
    if batch_tokens < max_length:
        raise ConfigError(
            f"Expected argument `batch_tokens` to be at least `max_length`, {max_length}, but got "
            f"{batch_tokens}: a batch of one long sentence would exceed it"
        )
    if batch_size is not None and batch_size * _SHORTEST > batch_tokens:
        raise ConfigError(
            f"Expected argument `batch_size` to be null or one that `batch_tokens` allows, but got "
            f"{batch_size}: so many rows of {_SHORTEST} tokens already exceed {batch_tokens}"
        )
