"""From sources to prepared data on disk: read, joined, split and tokenised once, found by content."""

import hashlib
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from lit_mtl.data.cache import FileState, contents_of, ensure, entry, refuse_changed
from lit_mtl.data.corpus import Corpus
from lit_mtl.data.dataset_tables import HUB, open_hub_dataset
from lit_mtl.data.joining import Contradictions, build_corpus
from lit_mtl.data.sources import Source, find_sources
from lit_mtl.data.splits import Splitter
from lit_mtl.data.tables import files_of
from lit_mtl.pretrained import pack_tokenizer
from lit_mtl.tasks.base import Task
from lit_mtl.tokenization import tokenizing


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What decides about the prepared data, beside the content of the files.

    Args:
        sources: the sources by name.
        tasks: the declared tasks by name.
        splitter: puts texts into splits.
        stratify: a task of whose labels each split gets its share.
        contradictions: what becomes of a sentence with several labels.
        tokenizer: whose ids are kept.
    """

    sources: Mapping[str, Source]
    tasks: Mapping[str, Task]
    splitter: Splitter
    stratify: str | None
    contradictions: Contradictions
    tokenizer: PreTrainedTokenizerBase

    def ensure_in(self, cache: Path, *, trained: Mapping[str, Task] | None = None) -> Path:
        """The folder of the prepared data, which are read and tokenised if they are not there yet.

        Args:
            cache: folder of all that is prepared.
            trained: the tasks of a model that is to be measured on them. What a declaration leaves to
                the data is then as the model has it: these data may lack a label, or a training split.

        Raises:
            ConfigError: if what the sources hold cannot serve the tasks.
            DataError: for what is wrong in a file, or a file that changes meanwhile.
            MissingInputError: for a file that is not there.
            StorageError: if it cannot be written.
        """
        contents = [_contents(path) for source in self.sources.values() for path in source.reads()]
        own = self
        folder = own._folder(cache, contents)
        tasks = _completed(self.tasks, trained or {})
        # the data of the training, read with what they said themselves, need not be read again
        if tasks != self.tasks and not _holds(folder, tasks):
            own = replace(self, tasks=tasks)
            folder = own._folder(cache, contents)
        ensure(folder, partial(own._build, known=ChainMap(*contents)))
        return folder

    def _folder(self, cache: Path, contents: Sequence[Mapping[str, FileState]]) -> Path:
        return entry(
            cache,
            {
                "sources": {
                    # weights change nothing here, nor does it matter who put the files there
                    name: asdict(
                        replace(
                            source,
                            path=source.place,
                            corpus=None,
                            group=source.grouping,
                            weight=1.0,
                        )
                    )
                    for name, source in self.sources.items()
                },
                "contents": [
                    {name: state.sum for name, state in states.items()} for states in contents
                ],
                "tasks": [(name, task.spec()) for name, task in self.tasks.items()],
                "splitter": asdict(self.splitter),
                "stratify": self.stratify,
                "contradictions": self.contradictions,
                "tokenizer": {
                    name: hashlib.sha256(content.numpy().tobytes()).hexdigest()
                    for name, content in pack_tokenizer(self.tokenizer).items()
                },
            },
        )

    def _build(self, folder: Path, *, known: Mapping[str, FileState]) -> None:
        """Read and write everything, if the files are to the end what the folder is named by."""
        findings = find_sources(self.sources, self.tasks)
        build_corpus(
            findings,
            folder,
            tasks=self.tasks,
            splitter=self.splitter,
            tokenize=tokenizing(self.tokenizer),
            contradictions=self.contradictions,
            stratify=self.stratify,
        )
        refuse_changed((file for feed in findings.feeds for file in feed.files), known)


def _contents(path: str) -> dict[str, FileState]:
    if not path.startswith(HUB):
        return contents_of(files_of(Path(path).expanduser()))
    return {str(table.path): FileState(table.version) for table in open_hub_dataset(path).values()}


def _completed(declared: Mapping[str, Task], trained: Mapping[str, Task]) -> dict[str, Task]:
    """The declared tasks; what they leave to the data as a trained model has it."""
    return {
        name: trained[name] if name in trained and _leads_to(task, trained[name]) else task
        for name, task in declared.items()
    }


def _leads_to(declared: Task, trained: Task) -> bool:
    if declared.is_open:
        return declared.kind == trained.kind
    return declared.same_outputs(trained)


def _holds(folder: Path, tasks: Mapping[str, Task]) -> bool:
    """Whether data are prepared there whose targets mean the same as those of some tasks."""
    return folder.is_dir() and all(
        task.same_outputs(tasks[name]) for name, task in Corpus.open(folder).tasks.items()
    )
