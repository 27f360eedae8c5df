"""A report on the data before any training: what was read, and what a model will see of it."""

import random
import re
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

from tabulate import tabulate

from lit_mtl.data.corpus import SPLITS, Corpus, Example
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.tasks.base import Task

_SHOWN = 5
"""Examples that are named of anything."""

_ALSO = {"ratings": "ratings in all", "without_label": "sentences that have none of the labels"}
"""Numbers that only some kinds of task have, in words."""

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
    examples = [example for split in SPLITS for example in corpus.splits[split]]
    return {
        "sources": {name: str(path) for name, path in datamodule.sources.items()},
        "unused": {
            "tables": [str(path) for path in datamodule.unused_tables()],
            "tasks": [name for name in datamodule.declared_tasks if name not in corpus.tasks],
        },
        "splits": {
            split: {
                "sentences": len(corpus.splits[split]),
                "labelled": {name: corpus.labelled(split, name) for name in corpus.tasks},
            }
            for split in SPLITS
        },
        "tasks": {name: _task(name, task, corpus, examples) for name, task in corpus.tasks.items()},
        "lengths": _lengths(datamodule),
        "alike": _alike(corpus),
        "suspicious": {
            name: _places(example.where for example in examples if suspects(example.text))
            for name, suspects in SUSPICIONS.items()
        },
        "rows": _rows(datamodule),
    }


def _task(name: str, task: Task, corpus: Corpus, examples: Sequence[Example]) -> dict[str, Any]:
    """What was read for a task, and its targets."""
    reading = corpus.readings[name]
    targets = [example.targets[name] for example in examples if name in example.targets]
    return {
        "kind": task.kind,
        "read": reading.read,
        "kept": len(targets),
        "dropped": {reason: _places(places) for reason, places in reading.dropped.items()},
        "contradictions": _places(map(str, reading.contradictions)),
        "unlabelled_share": 1 - len(targets) / len(examples),
        **task.summary(targets),
    }


def _lengths(datamodule: SentimentDataModule) -> dict[str, Any]:
    """Tokens a sentence, special ones and cutting included."""
    lengths = sorted(
        len(ids) for split in SPLITS for ids in datamodule.datasets[split]["input_ids"]
    )
    return {
        "min": lengths[0],
        "median": median(lengths),
        "p95": lengths[int(0.95 * (len(lengths) - 1))],
        "max": lengths[-1],
        "max_length": datamodule.tokenizer.model_max_length,
        "cut": _places(datamodule.truncated),
    }


def _alike(corpus: Corpus) -> dict[str, Any]:
    """Sentences that differ in case, punctuation or spacing only, within a split and across."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for split in SPLITS:
        for example in corpus.splits[split]:
            key = "".join(re.findall(r"\w+", example.text.casefold()))
            if key:
                groups.setdefault(key, []).append((split, example.where))
    found: dict[str, list[str]] = {"within": [], "across": []}
    for group in groups.values():
        if len(group) > 1:
            kind = "within" if len({split for split, _ in group}) == 1 else "across"
            found[kind].append("; ".join(f"{where} ({split})" for split, where in group))
    return {kind: _places(places) for kind, places in found.items()}


def _rows(datamodule: SentimentDataModule) -> list[dict[str, Any]]:
    """What the model sees of three training rows, drawn by the seed."""
    assert datamodule.corpus is not None
    examples = datamodule.corpus.splits["train"]
    drawn = random.Random(datamodule.seed).sample(range(len(examples)), min(3, len(examples)))
    ids = datamodule.datasets["train"]["input_ids"]
    return [
        {
            "where": examples[number].where,
            "text": examples[number].text,
            "tokens": datamodule.tokenizer.convert_ids_to_tokens(ids[number]),
            "targets": {
                name: task.describe(target)
                for name, task in datamodule.tasks.items()
                if (target := examples[number].targets.get(name)) is not None
            },
        }
        for number in drawn
    ]


def _places(places: Iterable[str]) -> dict[str, Any]:
    """How many there are, and the first of them."""
    every = list(places)
    return {"count": len(every), "examples": every[:_SHOWN]}


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
            f"{name} ({task['kind']}), from {found['sources'][name]}",
            f"  {task['read']} rows read, {task['kept']} sentences kept, "
            f"{task['unlabelled_share']:.1%} of all sentences without a target",
        ]
        for key, what in _ALSO.items():
            lines += [f"  {task[key]} {what}"] if key in task else []
        lines += _listed(task["dropped"] | {"contradictions": task["contradictions"]})
        parts.append("\n".join([*lines, "", _bars(task)]))
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
