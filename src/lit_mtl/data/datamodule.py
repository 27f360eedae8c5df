"""The LightningDataModule: files in, batches out.

Shapes: B rows, T tokens of the longest row in the batch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch
from datasets import Dataset
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from lit_mtl.data.batching import LengthGroupedSampler
from lit_mtl.data.corpus import SPLITS, Contradictions, Corpus, Example, Split, build_corpus
from lit_mtl.data.downloads import CorpusName, prepare_corpus
from lit_mtl.data.readers import Row, read_lines
from lit_mtl.data.sources import find_sources, refuse_shared_columns
from lit_mtl.data.tables import FORMATS, TEXT_COLUMNS, read_table, tables
from lit_mtl.errors import ConfigError, DataError, MissingInputError
from lit_mtl.tasks import AnyTask, Classification, Regression
from lit_mtl.tasks.base import Task

DEFAULT_TASKS: dict[str, AnyTask] = {
    "sentiment": Classification(),
    "score": Regression(low=-4.0, high=4.0),
}
"""The two tasks of the mission: positive or negative, and a score on the scale of the corpora."""


class Batch(TypedDict):
    """What the collate step makes.

    `input_ids` and `attention_mask` are (B, T), `row_id` is (B,). `targets[task]` is (B, S), with S the
    task's `target_shape`, and has a meaningless 0 where `labelled[task]`, (B,), is False.
    """

    input_ids: Tensor
    attention_mask: Tensor
    row_id: Tensor
    targets: dict[str, Tensor]
    labelled: dict[str, Tensor]


class SentimentDataModule(LightningDataModule):
    """Loads sentences with labels, scores or both, and splits, tokenises and batches them.

    Args:
        path: a folder with one `<label>.txt` a class, or a `scores.tsv`, or both; or one table.
        files: task name to folder or table, instead of `path` where that would be ambiguous.
        corpus: a rated corpus to fetch into `path` if it is not there yet.
        corpus_archive: the corpus' archive on disk, for machines without a network.
        tasks: the declared tasks; those without data are left out.
        max_length: tokens of a sentence at most; longer ones are cut and counted.
        batch_size: rows a training batch and process.
        eval_batch_size: rows a batch and process in validation, test and prediction.
        val_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        seed: seed of the order of the training rows.
        num_workers: worker processes of each loader; 0 loads in the training process.
        worker_timeout: seconds to wait for a worker's batch before the run ends with an error.
        contradictions: what becomes of a sentence with several labels for one task: `error` refuses
            the data, `drop` takes the sentence's label away, `keep` takes the most frequent one, the
            first read of those that are equally frequent.
        predict_path: sentences for `predict`, a .txt file or a table. None: the test split.
    """

    def __init__(
        self,
        path: str | None = None,
        *,
        files: dict[str, str] | None = None,
        corpus: CorpusName | None = None,
        corpus_archive: str | None = None,
        tasks: Mapping[str, AnyTask] | None = None,
        max_length: int = 128,
        batch_size: int = 32,
        eval_batch_size: int = 128,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
        num_workers: int = 0,
        worker_timeout: float = 300.0,
        contradictions: Contradictions = "error",
        predict_path: str | None = None,
    ) -> None:
        super().__init__()
        sizes = {"batch_size": (batch_size, 1), "eval_batch_size": (eval_batch_size, 1)}
        sizes["max_length"] = (max_length, 3)  # a word between the two special tokens
        for name, (value, least) in sizes.items():
            if value < least:
                raise ConfigError(
                    f"Expected argument `{name}` to be at least {least}, but got {value}"
                )
        if path is None and corpus is not None:
            path = f"data/{corpus}"
        if path is not None and files is not None:
            raise ConfigError("Expected either `path` or `files`, but got both")
        self.path = None if path is None else Path(path).expanduser()
        self.files = {name: Path(file).expanduser() for name, file in (files or {}).items()}
        self.corpus_name = corpus
        self.corpus_archive = None if corpus_archive is None else Path(corpus_archive)
        self.declared_tasks: dict[str, Task] = dict(DEFAULT_TASKS if tasks is None else tasks)
        self.max_length = max_length
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.seed = seed
        self.num_workers = num_workers
        self.worker_timeout = worker_timeout
        self.contradictions: Contradictions = contradictions
        self.predict_path = None if predict_path is None else Path(predict_path).expanduser()
        self.sources: dict[str, Path] = {}
        self.corpus: Corpus | None = None
        self.datasets: dict[Split, Dataset] = {}
        self.predict_dataset: Dataset | None = None
        self.truncated: list[str] = []
        self.position = (0, 0)
        self._tokenizer: PreTrainedTokenizerBase | None = None

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
        tokenizer.model_max_length = min(tokenizer.model_max_length, self.max_length)
        self._tokenizer = tokenizer

    def prepare_data(self) -> None:
        """Fetch the rated corpus if one is named."""
        if self.corpus_name is not None and self.path is not None:
            prepare_corpus(self.corpus_name, self.path, archive=self.corpus_archive)

    def setup(self, stage: str) -> None:
        """Read, join, split and tokenise, once for all stages."""
        if stage == "predict" and self.predict_path is not None:
            self.predict_dataset = self._dataset(
                [Example(row.text, row.where) for row in _texts(self.predict_path)]
            )
        elif self.corpus is None:
            self.sources = self._find_sources()
            self.corpus = build_corpus(
                self.sources,
                tasks=self.declared_tasks,
                val_fraction=self.val_fraction,
                test_fraction=self.test_fraction,
                contradictions=self.contradictions,
            )
            self.datasets = {split: self._dataset(self.corpus.splits[split]) for split in SPLITS}
        if stage == "fit":
            # what is measured at the end should be there before hours of training
            for split in SPLITS if self.test_fraction else SPLITS[:2]:
                self._split(split)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the training split in a new order each epoch, from `position` on."""
        return self._loader(self._split("train"), batch_size=self.batch_size, seed=self.seed)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint says of the data: the position in it, and which data it was."""
        assert self.corpus is not None, "the datamodule is set up"
        return {
            "position": list(self.position),
            "fingerprint": self.corpus.fingerprint,
            "sentences": {split: len(self.corpus.splits[split]) for split in SPLITS},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at a checkpoint's position; whether its data are these matters only to a fit."""
        epoch, batches = state_dict["position"]
        self.position = (epoch, batches)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches of the validation split."""
        return self._loader(self._split("val"), batch_size=self.eval_batch_size)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Batches of the test split."""
        return self._loader(self._split("test"), batch_size=self.eval_batch_size)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Batches of the sentences to predict."""
        return self._loader(self._to_predict(), batch_size=self.eval_batch_size)

    def predict_texts(self) -> list[str]:
        """The sentences to predict, in the order of the file; `row_id` counts them."""
        texts: list[str] = list(self._to_predict()["text"])
        return texts

    def unused_tables(self) -> list[Path]:
        """Tables in the folder that no task learns from; known after `setup`."""
        if self.path is None:
            return []
        return [table for table in tables(self.path) if table not in self.sources.values()]

    def collate(self, columns: Any) -> Batch:
        """Make a batch of rows; in a worker process, if there are any.

        Args:
            columns: column name to values, as Arrow gives a list of rows.

        Raises:
            DataError: naming the rows, whatever went wrong.
        """
        try:
            return self._batch(columns)
        except Exception as error:
            rows = ", ".join(columns["where"])
            raise DataError(f"{rows}: no batch could be made of these rows ({error!r})") from error

    def _batch(self, columns: Any) -> Batch:
        """Pad rows to the longest of them and separate targets from what is missing."""
        ids = [torch.tensor(row) for row in columns["input_ids"]]
        pad = int(self.tokenizer.pad_token_id or 0)
        targets, labelled = {}, {}
        for name, task in self.tasks.items():
            column = columns.get(_column(name), [None] * len(ids))
            nothing = torch.zeros(task.target_shape).tolist()
            values = [nothing if value is None else value for value in column]
            targets[name] = torch.tensor(values, dtype=task.target_dtype)
            labelled[name] = torch.tensor([value is not None for value in column])
        return Batch(
            input_ids=pad_sequence(ids, batch_first=True, padding_value=pad),
            attention_mask=pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
            row_id=torch.tensor(columns["row_id"]),
            targets=targets,
            labelled=labelled,
        )

    def _find_sources(self) -> dict[str, Path]:
        unknown = sorted(set(self.files) - set(self.declared_tasks))
        if unknown:
            raise ConfigError(
                f"Expected the keys of `files` to be tasks out of {sorted(self.declared_tasks)}, "
                f"but got {unknown}"
            )
        if self.files:
            for name, file in self.files.items():
                if not file.exists():
                    raise MissingInputError(
                        f"{file}: expected a folder or a table for the task {name!r}, found nothing"
                    )
            refuse_shared_columns(self.files, self.declared_tasks)
            return self.files
        if self.path is None:
            raise ConfigError(
                "No data: name a folder or table with `data.path`, or a rated corpus with "
                "`data.corpus`"
            )
        return find_sources(self.path, self.declared_tasks)

    def _dataset(self, examples: Sequence[Example]) -> Dataset:
        """Arrow table of a split: row_id, text, where, input_ids, and a nullable column a task."""
        texts = [example.text for example in examples]
        columns: dict[str, Any] = {
            "row_id": list(range(len(texts))),
            "text": texts,
            "where": [example.where for example in examples],
            "input_ids": self._tokenize(examples),
        }
        for name in self.tasks:
            columns[_column(name)] = [example.targets.get(name) for example in examples]
        return Dataset.from_dict(columns)

    def _tokenize(self, examples: Sequence[Example]) -> list[list[int]]:
        if not examples:
            return []
        texts = [example.text for example in examples]
        ids: list[list[int]] = self.tokenizer(texts, verbose=False)["input_ids"]
        limit = self.tokenizer.model_max_length
        too_long = [row for row, tokens in enumerate(ids) if len(tokens) > limit]
        for row in too_long:
            ids[row] = self.tokenizer(texts[row], truncation=True, max_length=limit)["input_ids"]
            self.truncated.append(examples[row].where)
        return ids

    def _to_predict(self) -> Dataset:
        return self._split("test") if self.predict_dataset is None else self.predict_dataset

    def _split(self, split: Split) -> Dataset:
        dataset = self.datasets[split]
        if not len(dataset):
            raise ConfigError(
                f"The {split} split holds no sentence: there are too few for the fractions "
                f"val_fraction={self.val_fraction} and test_fraction={self.test_fraction}"
            )
        return dataset

    def _loader(
        self, dataset: Dataset, *, batch_size: int, seed: int | None = None
    ) -> DataLoader[Batch]:
        trainer = self.trainer
        if getattr(trainer, "overfit_batches", 0):
            raise ConfigError("`overfit_batches` is not supported: use `limit_train_batches`")
        sampler = LengthGroupedSampler(
            [len(ids) for ids in dataset["input_ids"]],
            batch_size=batch_size,
            seed=seed,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            start=(0, 0) if seed is None else self.position,
        )
        return DataLoader(
            dataset,
            batch_size=None,  # the sampler yields whole batches, which Arrow reads at once
            sampler=sampler,
            collate_fn=self.collate,
            num_workers=self.num_workers,
            timeout=self.worker_timeout if self.num_workers else 0,
            pin_memory=torch.cuda.is_available(),
        )


def _column(task: str) -> str:
    """The dataset's column of a task's targets, apart from the columns of the sentences."""
    return f"target.{task}"


def _texts(path: Path) -> list[Row]:
    suffix = path.suffix.lower()
    if suffix not in (".txt", *FORMATS) and not path.is_dir():
        raise DataError(f"{path}: expected a file that ends in .txt, {', '.join(FORMATS)}")
    rows = read_lines(path) if suffix == ".txt" else read_table(path, target_columns=TEXT_COLUMNS)
    texts = [row for row in rows if row.text]
    if not texts:
        raise DataError(f"{path}: expected sentences; found none")
    return texts
