"""The config to begin with, as text: the sources, tasks and settings, with the reason for each."""

import math
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lit_mtl.commands.findings import Findings
from lit_mtl.commands.yaml_text import as_yaml, one_line
from lit_mtl.data.corpus import Corpus
from lit_mtl.data.joining import build_corpus
from lit_mtl.data.sources import Source, find_sources
from lit_mtl.data.splits import SPLITS, Splitter
from lit_mtl.errors import DataError
from lit_mtl.pretrained import PACKAGED, load_tokenizer, resolve
from lit_mtl.tasks import task_from_spec
from lit_mtl.tasks.base import Task
from lit_mtl.tokenization import Tokenize, tokenizing

_FEW = 200
"""Labelled training sentences below which the backbone rests: too few to move millions of weights."""

_SOME = 2000
"""Below it the heads learn first, so that random heads do not tear at the backbone."""

_STEPS = 300
"""Optimizer steps that a run should have at least."""

_RARE = 100
"""Sentences of a label below which a split by shares of all sentences may miss it."""


def config(findings: Findings, *, backbone: str, output: Path) -> str:
    """The config as text.

    Args:
        findings: what was found.
        backbone: hub name, local folder, or `minilm`.
        output: its file, for the commands in it.
    """
    tokenize, unit = _tokenize(backbone)
    source_path = str(findings.source.path)
    declared = {name: task_from_spec(fields) for name, fields in findings.tasks.items()}
    corpus, fraction, stratify = _try_out(findings, declared, tokenize)
    rows = max(corpus.counts["train"].values())
    batch = 32 if rows >= 500 else 16 if rows >= 100 else 8
    steps = math.ceil(len(corpus.splits["train"]) / batch)
    lines = [
        f"# Written by `python -m lit_mtl init` from what was found in {one_line(source_path)}.",
        *(f"#   {one_line(command)}" for command in next_commands(output)),
        "seed_everything: 0",
        "data:",
        "  sources:",
        "    mine:",
        *_left_out_lines(findings.left_out),
        *_source_lines(findings.source),
        f"  batch_size: {batch}",
        *_length_lines(corpus, unit),
        *_split_lines(corpus, fraction, stratify),
        *_contradiction_lines(corpus),
        "tasks:",
        *_task_lines(findings),
        "model:",
        f"  backbone: {as_yaml(backbone)}",
        *_rate_lines(backbone, rows),
        *_plan_lines(rows),
        "trainer:",
        f"  # {steps} steps of {batch} sentences an epoch, and {_STEPS} steps at least in all",
        f"  max_epochs: {min(30, max(3, math.ceil(_STEPS / steps)))}",
    ]
    return "\n".join(lines) + "\n"


def next_commands(output: Path) -> list[str]:
    """The commands that read the config, as a shell takes them."""
    place = shlex.quote(str(output))
    return [f"python -m lit_mtl {command} --config {place}" for command in ("check-data", "fit")]


def _tokenize(backbone: str) -> tuple[Tokenize, str]:
    """The backbone's own tokenizer if it is on this machine, else words."""
    if Path(resolve(backbone)).is_dir():
        return tokenizing(load_tokenizer(backbone)), "tokens"

    def words(texts: Sequence[str]) -> tuple[list[list[int]], list[bool]]:
        return [[0] * len(text.split()) for text in texts], [False] * len(texts)

    return words, "words"


def _try_out(
    findings: Findings, tasks: dict[str, Task], tokenize: Tokenize
) -> tuple[Corpus, float, str | None]:
    """The corpus as a fit would have it, with shares that leave no split empty."""
    found = find_sources({"mine": findings.source}, tasks)
    sentences = 0
    for fraction in (0.1, 0.2, 0.3):
        with tempfile.TemporaryDirectory() as folder:
            corpus = build_corpus(
                found,
                Path(folder),
                tasks={name: _measurable(task) for name, task in tasks.items()},
                splitter=Splitter(val_fraction=fraction, test_fraction=fraction),
                tokenize=tokenize,
                contradictions="drop",
            )
            rare = _rare_label(corpus)
        if all(len(corpus.splits[split]) > 1 for split in SPLITS):
            source = findings.source
            is_split = source.split or source.test_path or source.val_path
            return corpus, fraction, None if is_split else rare
        sentences = sum(len(corpus.splits[split]) for split in SPLITS)
    raise DataError(
        f"{findings.source.path}: expected enough sentences for three splits; found {sentences}"
    )


def _measurable(task: Task) -> Task:
    """The same without weights that a small training split could not give."""
    fields = {k: v for k, v in task.spec().items() if k not in ("class_weights", "pos_weight")}
    return task_from_spec(fields)


def _rare_label(corpus: Corpus) -> str | None:
    """A task that has a label with few sentences."""
    for name, task in corpus.tasks.items():
        column = corpus.splits["train"].data.column(f"target.{name}").drop_null()
        if task.kind == "classification" and len(column):
            counts = np.bincount(column.to_numpy(), minlength=task.output_dim)
            if counts.min() < _RARE:
                return name
    return None


def _left_out_lines(left_out: Mapping[str, str]) -> list[str]:
    return [
        f"      # {one_line(name)}: not read, {one_line(why)}" for name, why in left_out.items()
    ]


def _source_lines(source: Source) -> list[str]:
    lines = [f"      path: {as_yaml(source.path)}", f"      tasks: {as_yaml(source.tasks)}"]
    held_out = {"val_path": source.val_path, "test_path": source.test_path}
    lines += [
        f"      {name}: {as_yaml(path)}" for name, path in held_out.items() if path is not None
    ]
    if source.text is not None:
        lines.append(f"      text: {as_yaml(source.text)}  # the column of sentences")
    if source.split is not None:
        lines.append(f"      split: {as_yaml(source.split)}  # names the split of each row")
    return lines


def _length_lines(corpus: Corpus, unit: str) -> list[str]:
    lengths = np.concatenate([corpus.lengths(split) for split in SPLITS])
    most = int(np.quantile(lengths, 0.99, method="higher"))
    needed = most if unit == "tokens" else math.ceil(1.5 * most) + 2
    limit = min(512, max(16, math.ceil(needed / 8) * 8))
    guessed = "" if unit == "tokens" else "; a word is taken for 1.5 tokens, check-data counts them"
    return [
        f"  # 99 % of the sentences have at most {most} {unit}{guessed}",
        f"  max_length: {limit}",
    ]


def _split_lines(corpus: Corpus, fraction: float, stratify: str | None) -> list[str]:
    sizes = ", ".join(f"{split} {len(corpus.splits[split]):,}" for split in SPLITS)
    lines = [
        f"  # sentences{'' if stratify is None else ', about'}: {sizes}",
        f"  val_fraction: {fraction}",
        f"  test_fraction: {fraction}",
    ]
    if stratify is not None:
        lines.append(
            f"  stratify: {as_yaml(stratify)}  # a label is rare: each split gets its share of it"
        )
    return lines


def _contradiction_lines(corpus: Corpus) -> list[str]:
    found = {n: r.contradictory for n, r in corpus.readings.items() if r.contradictory}
    if not found:
        return []
    counts = ", ".join(f"{count:,} for {name}" for name, count in found.items())
    return [
        f"  # sentences with several labels: {counts}; check-data names them",
        "  contradictions: drop",
    ]


def _task_lines(findings: Findings) -> list[str]:
    lines = []
    for name, why in findings.notes.items():
        lines.append(f"  # {name}: {one_line(why)}")
        if name in findings.tasks:
            lines.append(f"  {as_yaml(name)}: {as_yaml(findings.tasks[name])}")
    return lines


def _rate_lines(backbone: str, rows: int) -> list[str]:
    if rows < _FEW:
        return [
            "  # with the backbone at rest: 1e-3 for the heads, 5e-4 for the projection",
            "  lr: 1.0e-4",
        ]
    if backbone == PACKAGED:
        return ["  # a small encoder takes more than a large one", "  lr: 1.0e-4"]
    return ["  # usual for encoders of the size of BERT (1e-5 to 5e-5)", "  lr: 2.0e-5"]


def _plan_lines(rows: int) -> list[str]:
    if rows < _FEW:
        return [
            f"# {rows:,} labelled training sentences are few: projection and heads learn, the rest rests",
            "freezing:",
            "  stages:",
            "    - {name: backbone_frozen, freeze: [backbone]}",
        ]
    if rows < _SOME:
        return [
            f"# with {rows:,} labelled training sentences the heads learn first, then everything",
            "freezing:",
            "  stages:",
            "    - {name: probe, freeze: [backbone], until_epoch: 1}",
            "    - {name: finetune, warmup_steps: 20}",
        ]
    return [f"# {rows:,} labelled training sentences are enough to train everything: no freezing"]
