"""`init`: looks at a user's files and writes a config to begin with, with its reasons."""

import argparse
import math
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch import nn

from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.data.corpus import Corpus
from lit_mtl.data.dataset_tables import HUB
from lit_mtl.data.inspection import Guess, guess, guess_named, is_split_column, look_at, text_column
from lit_mtl.data.joining import build_corpus
from lit_mtl.data.label_folder import LABEL, label_files, open_label_folder
from lit_mtl.data.sources import Source, find_sources
from lit_mtl.data.splits import SPLITS, Split, Splitter, split_of_name
from lit_mtl.data.tables import is_table, open_table, saved_datasets, tables
from lit_mtl.errors import ConfigError, DataError, MissingInputError
from lit_mtl.files import write_atomically
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


_NULL = ("null", "Null", "NULL", "~")
"""What YAML takes for nothing."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found at a path.

    Args:
        source: the source as a config names it.
        tasks: the fields of each task by name.
        notes: task name, or column without one, to what was seen there.
        left_out: name of each part that is not read, and why.
    """

    source: Source
    tasks: dict[str, dict[str, Any]]
    notes: dict[str, str]
    left_out: dict[str, str]


def run(name: str, args: Sequence[str]) -> None:
    """Run the command.

    Args:
        name: the command.
        args: what stands behind it.
    """
    silence_upstream_notes()
    options = parser(name).parse_args(args)
    output = Path(options.output or f"{Path(options.path).resolve().stem}.yaml")
    if output.exists():
        raise ConfigError(f"{output}: is there already. Name another file with --output")
    findings = inspect(options.path)
    text = config(findings, backbone=options.backbone, output=output)
    write_atomically(output, text.encode("utf-8"))
    print(f"{text}\nwritten to {output}; next:")
    for command in _next(output):
        print(f"  {command}")


def _next(output: Path) -> list[str]:
    """The commands that read the config, as a shell takes them."""
    place = shlex.quote(str(output))
    return [f"python -m lit_mtl {command} --config {place}" for command in ("check-data", "fit")]


def inspect(path: str) -> Findings:
    """Look at all columns of all tables at a path.

    Raises:
        MissingInputError: if there is nothing.
        DataError: if nothing there could be learned.
    """
    folder = _there(path)
    columns: dict[str, str] = {}
    tasks: dict[str, dict[str, Any]] = {}
    notes: dict[str, str] = {}
    found: dict[str, Any] = {"text": None, "split": None}
    parts, left_out = _parts(folder)
    if parts:
        path = str(parts.pop("train"))
    elif not is_table(folder) and len(label_files(folder)) > 1:
        seen = guess_named(look_at(open_label_folder(folder))[LABEL])
        _add(_label_name(folder), LABEL, seen, columns, tasks, notes)
    files = [Path(path)] if parts or left_out else tables(Path(path).expanduser())
    for file in files:
        _look_into(file, found, columns, tasks, notes)
    _refuse_unlike(files, found)
    _refuse_null(files[0] if files else folder, found)
    if not tasks:
        seen_columns = "; ".join(f"{name}: {why}" for name, why in notes.items()) or "no table"
        raise DataError(
            f"{path}: expected <label>.txt files, or a table with a column to learn from; found "
            f"{seen_columns}"
        )
    for split, part in parts.items():
        if why := _unlabelled(part, columns):
            left_out[part.name] = why
        else:
            found[f"{split}_path"] = str(part)
    source = Source(path=path, tasks=columns, **found)
    return Findings(source=source, tasks=tasks, notes=notes, left_out=left_out)


def _there(path: str) -> Path:
    """The path of files that are on this machine.

    Raises:
        MissingInputError: if there is nothing.
    """
    if path.startswith(HUB):
        raise MissingInputError(
            f"{path}: expected files on this machine; found the name of a dataset of the hub. Name a "
            "folder where its save_to_disk has written it"
        )
    folder = Path(path).expanduser()
    if not folder.exists():
        raise MissingInputError(f"{folder}: expected a folder or a table, found nothing")
    return folder


def _parts(folder: Path) -> tuple[dict[Split, Path], dict[str, str]]:
    """The tables of a folder that are its splits, one to train on among them, and those left out.

    A folder of files has parts only if all its tables are named by the splits.

    Raises:
        DataError: if there is none to train on in a saved dataset, or several for one split.
    """
    if is_table(folder):
        return {}, {}
    saved = [table.path for table in saved_datasets(folder).values()]
    if len(saved) == 1:
        return {"train": saved[0]}, {}
    files = saved or tables(folder)
    splits = [(split_of_name(file.stem), file) for file in files]
    parts = {split: file for split, file in splits if split is not None}
    others = [file.name for split, file in splits if split is None]
    if "train" in parts and len(parts) + len(others) == len(files) > 1 and (saved or not others):
        return parts, dict.fromkeys(others, "its name is that of no split")
    if saved:
        raise DataError(
            f"{folder}: expected a part named train, and one at most for each other split; found "
            f"{', '.join(file.name for file in files)}. Name one of them: {files[0]}"
        )
    return {}, {}


def _unlabelled(part: Path, columns: Mapping[str, str]) -> str | None:
    """Why a held-out part cannot be measured on, as the test split of a competition; else None."""
    facts = look_at(open_table(part))
    for column in columns.values():
        if column not in facts:
            return f"it has no column {column!r}"
    if not any(facts[column].filled for column in columns.values()):
        return f"it has nothing under {', '.join(columns.values())}"
    return None


def _refuse_unlike(files: Sequence[Path], found: dict[str, Any]) -> None:
    """A source has one column of sentences and one of splits for all its tables.

    Raises:
        DataError: naming the first table that has none of them.
    """
    for file in files:
        columns = open_table(file).columns
        for what in ("text", "split"):
            if found[what] is not None and found[what] not in columns:
                raise DataError(
                    f"{file}:1: expected the {what} column {found[what]!r}, as in another table of the "
                    f"folder; found the columns {', '.join(columns)}. Name one table"
                )


def _refuse_null(file: Path, found: dict[str, Any]) -> None:
    """An option that may be left out takes these names, even quoted, for its being left out.

    Raises:
        DataError: naming the column.
    """
    for what in ("text", "split"):
        if found[what] in _NULL:
            raise DataError(
                f"{file}:1: expected another name of the {what} column than {', '.join(_NULL)}, which "
                f"mean nothing in a config; found {found[what]!r}. Rename it"
            )


def _look_into(
    file: Path,
    found: dict[str, Any],
    columns: dict[str, str],
    tasks: dict[str, dict[str, Any]],
    notes: dict[str, str],
) -> None:
    table = open_table(file)
    if len(table.columns) == 1:
        notes[table.columns[0]] = (
            "the only column; cells are separated by tabs in .tsv, by commas or semicolons in .csv"
        )
        return
    facts = look_at(table)
    sentences = text_column(table, facts)
    if table.column(("text", "sentence")) is None:
        found["text"] = sentences
    for column in table.columns:
        if column == sentences:
            continue
        if is_split_column(facts[column]) and found["split"] is None:
            found["split"] = column
            notes[column] = "says the split of each row"
        elif column in columns.values():
            raise DataError(
                f"{file}:1: expected other columns than in the tables before; found {column!r} again. "
                "Name one table, or call them train, val and test"
            )
        else:
            seen = guess(facts[column], column)
            _add(_task_name(column, tasks), column, seen, columns, tasks, notes)


def _add(
    name: str,
    column: str,
    seen: Guess,
    columns: dict[str, str],
    tasks: dict[str, dict[str, Any]],
    notes: dict[str, str],
) -> None:
    if seen.task is None:
        notes[column] = f"not learned, {seen.why}"
        return
    columns[name], tasks[name], notes[name] = column, seen.task, seen.why


def _label_name(folder: Path) -> str:
    return "sentiment" if set(label_files(folder)) <= {"positive", "negative", "neutral"} else LABEL


def _task_name(column: str, tasks: dict[str, dict[str, Any]]) -> str:
    """A column's name as a task may have it."""
    name = re.sub(r"\W+", "_", column).strip("_").lower() or "task"
    if name[0].isdigit() or hasattr(nn.ModuleDict(), name):
        name = f"task_{name}"
    while name in tasks:
        name += "_"
    return name


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
        f"# Written by `python -m lit_mtl init` from what was found in {_one_line(source_path)}.",
        *(f"#   {_one_line(command)}" for command in _next(output)),
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
        f"  backbone: {_yaml(backbone)}",
        *_rate_lines(backbone, rows),
        *_plan_lines(rows),
        "trainer:",
        f"  # {steps} steps of {batch} sentences an epoch, and {_STEPS} steps at least in all",
        f"  max_epochs: {min(30, max(3, math.ceil(_STEPS / steps)))}",
    ]
    return "\n".join(lines) + "\n"


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
        f"      # {_one_line(name)}: not read, {_one_line(why)}" for name, why in left_out.items()
    ]


def _source_lines(source: Source) -> list[str]:
    lines = [f"      path: {_yaml(source.path)}", f"      tasks: {_yaml(source.tasks)}"]
    held_out = {"val_path": source.val_path, "test_path": source.test_path}
    lines += [f"      {name}: {_yaml(path)}" for name, path in held_out.items() if path is not None]
    if source.text is not None:
        lines.append(f"      text: {_yaml(source.text)}  # the column of sentences")
    if source.split is not None:
        lines.append(f"      split: {_yaml(source.split)}  # names the split of each row")
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
            f"  stratify: {_yaml(stratify)}  # a label is rare: each split gets its share of it"
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
        lines.append(f"  # {name}: {_one_line(why)}")
        if name in findings.tasks:
            lines.append(f"  {_yaml(name)}: {_yaml(findings.tasks[name])}")
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


class _Dumper(yaml.SafeDumper):
    """Quotes all text that any reader might take for something else, as jsonargparse does `1e3`."""


_WORD = re.compile(r"[^\W\d][\w ./()-]*")


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if _WORD.fullmatch(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _yaml(value: object) -> str:
    """A value on one line."""
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=True,
        width=10**6,
        sort_keys=False,
        allow_unicode=True,
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _one_line(text: str) -> str:
    """Text from the user's files as it may stand in a comment."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def parser(name: str) -> argparse.ArgumentParser:
    """What the command accepts.

    Args:
        name: the command.
    """
    parser = argparse.ArgumentParser(prog=f"python -m lit_mtl {name}")
    parser.add_argument(
        "path", help="a folder of <label>.txt files or tables, a table, or a saved dataset"
    )
    parser.add_argument("--output", help="the config to write; default: named like the path")
    parser.add_argument(
        "--backbone",
        default="bert-base-uncased",
        help=f"hub name, local folder, or {PACKAGED}",
    )
    return parser
