"""Corpora built from files in tests: what a datamodule does, without its cache."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from lit_mtl.data.corpus import Corpus, target_column
from lit_mtl.data.joining import build_corpus
from lit_mtl.data.sources import Source, find_sources
from lit_mtl.data.splits import Split, Splitter
from lit_mtl.tasks import Classification, Regression
from lit_mtl.tasks.base import Task
from lit_mtl.tokenization import tokenizing
from tests.conftest import TINY_BERT

TASKS: dict[str, Task] = {"sentiment": Classification(), "score": Regression(low=-4, high=4)}

TOKENIZER = AutoTokenizer.from_pretrained(TINY_BERT)


def build(
    sources: Path | Mapping[str, Source],
    *,
    tasks: Mapping[str, Task] | None = None,
    val: float = 0.0,
    test: float = 0.0,
    folds: int | None = None,
    fold: int = 0,
    **options: Any,
) -> Corpus:
    """Build a corpus beside its first source."""
    named = {"data": Source(path=str(sources))} if isinstance(sources, Path) else sources
    declared = TASKS if tasks is None else tasks
    folder = Path("prepared")  # tests run in a folder of their own
    folder.mkdir(exist_ok=True)
    return build_corpus(
        find_sources(named, declared),
        folder,
        tasks=declared,
        splitter=Splitter(val_fraction=val, test_fraction=test, folds=folds, fold=fold),
        tokenize=tokenizing(TOKENIZER),
        **options,
    )


def targets(corpus: Corpus, split: Split = "train") -> dict[str, dict[str, Any]]:
    """The targets of each sentence of a split."""
    return {
        row["text"]: {
            name: row[target_column(name)]
            for name in corpus.tasks
            if row[target_column(name)] is not None
        }
        for row in corpus.splits[split]
    }


def texts(corpus: Corpus, split: Split = "train") -> list[str]:
    """The sentences of a split."""
    return list(corpus.splits[split]["text"])
