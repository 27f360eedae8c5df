"""A report on the data before any training: what was read, and what a model will see of it."""

import hashlib
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from tabulate import tabulate

from lit_mtl.data.corpus import Corpus, Places, target_column, targets_of
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.data.splits import SPLITS, Split
from lit_mtl.tasks.base import Task

_ALSO = {"ratings": "ratings in all", "without_label": "sentences that have none of the labels"}
"""Numbers that only some kinds of task have, in words."""

_NOTHING = 0
"""Stands for a text without a letter or digit, which is like no other one."""

_BAR = 30
"""Characters of the longest bar."""

SUSPICIONS: dict[str, Callable[[str], object]] = {
    "no letter": lambda text: not any(character.isalpha() for character in text),
    "markup": re.compile(r"<(br|p|div|span|a|i|b)\b[^>]*>|&(amp|lt|gt|quot|nbsp|#\d+);").search,
    "wrongly decoded": re.compile("\N{REPLACEMENT CHARACTER}|Ã[\x80-\xbf]|â€").search,
    "control characters": re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search,
}
"""What a sentence should not be, by name."""


def check_data(datamodule: SentimentDataModule) -> dict[str, Any]:
    """Look at data that are set up for a fit.

    Args:
        datamodule: after `setup`.

    Returns:
        Plain values, as `--json` prints them: `sources`, `splits`, `tasks`, `lengths`, `alike`,
        `suspicious` and `rows`.
    """
    corpus = datamodule.corpus
    assert corpus is not None, "the datamodule is set up"
    suspicious = {name: Places() for name in SUSPICIONS}
    for _, _, where, text in _sentences(corpus):
        for name, suspects in SUSPICIONS.items():
            if suspects(text):
                suspicious[name].add(where)
    return {
        "sources": corpus.paths,
        "unused": {
            "tables": corpus.unused,
            "tasks": [name for name in datamodule.declared_tasks if name not in corpus.tasks],
        },
        "splits": {
            split: {"sentences": len(corpus.splits[split]), "labelled": corpus.counts[split]}
            for split in SPLITS
        },
        "tasks": {name: _task(name, task, corpus) for name, task in corpus.tasks.items()},
        "lengths": _lengths(corpus, datamodule.tokenizer.model_max_length),
        "alike": _alike(corpus),
        "suspicious": {name: asdict(places) for name, places in suspicious.items()},
        "rows": _rows(datamodule, corpus),
    }


def _sentences(corpus: Corpus) -> Iterator[tuple[int, Split, str, str]]:
    """Number, split, `file:line` and text of every sentence."""
    number = 0
    for split in SPLITS:
        for batch in corpus.splits[split].select_columns(["text", "file", "number"]).iter(1000):
            for text, file, line in zip(batch["text"], batch["file"], batch["number"], strict=True):
                yield number, split, corpus.where(file, line), text
                number += 1


def _task(name: str, task: Task, corpus: Corpus) -> dict[str, Any]:
    """What was read for a task, and its targets."""
    reading = corpus.readings[name]
    kept = sum(corpus.labelled(split, name) for split in SPLITS)
    parts = [targets_of(corpus.splits[split], name) for split in SPLITS]
    return {
        "kind": task.kind,
        "read": reading.read,
        "kept": kept,
        "dropped": {reason: asdict(places) for reason, places in reading.dropped.items()},
        "contradictions": {
            "count": reading.contradictory,
            "examples": list(map(str, reading.contradictions)),
        },
        "unlabelled_share": 1 - kept / sum(len(corpus.splits[split]) for split in SPLITS),
        **(task.summary(np.concatenate([part for part in parts if len(part)])) if kept else {}),
    }


def _lengths(corpus: Corpus, max_length: int) -> dict[str, Any]:
    """Tokens a sentence, special ones and cutting included."""
    lengths = np.sort(np.concatenate([corpus.lengths(split) for split in SPLITS]))
    return {
        "min": int(lengths[0]),
        "median": float(np.median(lengths)),
        "p95": int(np.quantile(lengths, 0.95, method="higher")),
        "max": int(lengths[-1]),
        "max_length": max_length,
        "cut": asdict(corpus.truncated),
    }


def _alike(corpus: Corpus) -> dict[str, Any]:
    """Sentences that differ in case, punctuation or spacing only, within a split and across.

    Sums of the texts are compared first, so that memory holds a number for each sentence, and
    texts only of those that are alike.
    """
    sums = np.fromiter((_likeness(text) for *_, text in _sentences(corpus)), np.int64)
    values, counts = np.unique(sums, return_counts=True)
    repeated = set(values[(counts > 1) & (values != _NOTHING)].tolist())
    groups: dict[int, list[tuple[Split, str]]] = {}
    for number, split, where, _ in _sentences(corpus) if repeated else ():
        if (key := int(sums[number])) in repeated:
            groups.setdefault(key, []).append((split, where))
    found = {"within": Places(), "across": Places()}
    for group in groups.values():
        kind = "within" if len({split for split, _ in group}) == 1 else "across"
        found[kind].add("; ".join(f"{where} ({split})" for split, where in group))
    return {kind: asdict(places) for kind, places in found.items()}


def _likeness(text: str) -> int:
    """A sum over the letters and digits of a text, case aside."""
    key = "".join(re.findall(r"\w+", text.casefold()))
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) if key else _NOTHING


def _rows(datamodule: SentimentDataModule, corpus: Corpus) -> list[dict[str, Any]]:
    """What the model sees of three training rows, drawn by the seed."""
    examples = corpus.splits["train"]
    drawn = random.Random(datamodule.seed).sample(range(len(examples)), min(3, len(examples)))
    return [
        {
            "where": corpus.where(row["file"], row["number"]),
            "text": row["text"],
            "tokens": datamodule.tokenizer.convert_ids_to_tokens(row["input_ids"]),
            "targets": {
                name: task.describe(tuple(target) if task.target_shape else target)
                for name, task in corpus.tasks.items()
                if (target := row[target_column(name)]) is not None
            },
        }
        for row in (examples[number] for number in drawn)
    ]


def as_text(found: dict[str, Any]) -> str:
    """The report of `check_data` for people."""
    tasks = found["tasks"]
    splits = [
        [split, counts["sentences"], *(counts["labelled"][name] for name in tasks)]
        for split, counts in found["splits"].items()
    ]
    parts = [tabulate(splits, ["split", "sentences", *tasks])]
    for name, task in tasks.items():
        lines = [
            f"{name} ({task['kind']}), from {', '.join(found['sources'][name])}",
            f"  {task['read']} rows read, {task['kept']} sentences kept, "
            f"{task['unlabelled_share']:.1%} of all sentences without a target",
        ]
        for key, what in _ALSO.items():
            lines += [f"  {task[key]} {what}"] if key in task else []
        lines += _listed(task["dropped"] | {"contradictions": task["contradictions"]})
        parts.append("\n".join([*lines, "", _bars(task)] if task["kept"] else lines))
    lengths = found["lengths"]
    parts.append(
        "\n".join(
            [
                f"tokens a sentence: {lengths['min']} to {lengths['max']}, median "
                f"{lengths['median']:g}, 95 % have at most {lengths['p95']}",
                *_listed({f"cut to {lengths['max_length']} tokens": lengths["cut"]}),
            ]
        )
    )
    alike = {f"alike {kind} splits": places for kind, places in found["alike"].items()}
    remarks = _listed(alike | found["suspicious"])
    remarks += [f"  not read, no task learns from it: {path}" for path in found["unused"]["tables"]]
    remarks += [f"  no data, so no head is trained: {name}" for name in found["unused"]["tasks"]]
    parts.append("\n".join(["remarks:", *(remarks or ["  none"])]))
    for row in found["rows"]:
        targets = ", ".join(f"{name} {target}" for name, target in row["targets"].items())
        parts.append(f"{row['where']}: {row['text']}\n  {' '.join(row['tokens'])}\n  -> {targets}")
    return "\n\n".join(parts)


def _listed(groups: dict[str, dict[str, Any]]) -> list[str]:
    """A line a group that is not empty, and one for each of its examples."""
    lines = []
    for name, places in groups.items():
        if places["count"]:
            lines.append(f"  {places['count']} {name}:")
            lines += [f"    {example}" for example in places["examples"]]
            if (more := places["count"] - len(places["examples"])) > 0:
                lines.append(f"    ... and {more} more")
    return lines


def _bars(task: dict[str, Any]) -> str:
    """Counts of the labels, or of the scores by bins."""
    if "labels" in task:
        counts = list(task["labels"].items())
    else:
        counts = [(f"{b['from']:.3g} to {b['to']:.3g}", b["count"]) for b in task["histogram"]]
    most = max(count for _, count in counts) or 1
    rows = [[name, count, "#" * round(_BAR * count / most)] for name, count in counts]
    text = tabulate(
        rows, tablefmt="plain", disable_numparse=[0], colalign=("left", "right", "left")
    )
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
