"""The model card of an exported folder: what it is, how well it does, and how to load it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from lit_mtl.artifact.base_alignment import Alignment
from lit_mtl.artifact.bundle import TrainedModel
from lit_mtl.calibration import Calibration
from lit_mtl.pretrained import PACKAGED

_SHOWN = ("seed_everything", "tasks", "data", "model", "freezing")
"""Parts of a run's config that the card shows, beside the length of the training."""

_TRAINER = ("max_epochs", "max_steps", "precision", "accumulate_grad_batches", "gradient_clip_val")

_PATHS = ("path", "val_path", "test_path", "split_list", "corpus_archive", "cache_dir")
"""Settings of the data that hold paths; a card may become public."""

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a checkpoint from the folder of its run.

    Args:
        results: content of `results.json`; empty if it is of another checkpoint or missing.
        config: content of `config.yaml`; the same.
        calibration: that of this checkpoint; None if there is none.
        base_share: share of the pre-trained weights in the exported backbone. Above 0 there are no
            results and no calibration: they are those of the trained weights alone.
        alignment: what aligning the embedding to the base has done; None if it was not aligned.
    """

    results: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    base_share: float = 0.0
    alignment: Alignment | None = None


def model_card(
    model: TrainedModel,
    evidence: Evidence,
    *,
    name: str,
    graphs: Mapping[str, Any],
) -> str:
    """The card as Markdown, with the head that the model hub reads.

    Args:
        model: the exported model.
        evidence: what its run has left.
        name: of the exported folder.
        graphs: file name of each ONNX graph to what is known of it.
    """
    architecture, backbone = model.network.architecture, model.network.encoder.backbone
    begun = evidence.config.get("model", {})
    tasks = ", ".join(f"{task} ({kind.kind})" for task, kind in model.network.tasks.items())
    parts = [
        "---\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\n"
        f"tags:\n- sentence-transformers\n- feature-extraction\n- lit_mtl\n{_hub_base(begun)}---",
        f"# {name}",
        f"A sentence encoder with one head for each of the tasks {tasks}, trained together by "
        f"lit_mtl: a {backbone.config.model_type} backbone of {backbone.num_layers} layers, "
        f"{architecture.pooling} pooling and a linear layer to {architecture.embedding_dim} "
        f"dimensions{', scaled to length 1' if architecture.normalize else ''}. {_beginning(begun)}"
        f"Sentences are cut after {model.tokenizer.model_max_length} tokens.",
        *([_base(evidence)] if evidence.base_share else []),
        _use(model, name, graphs),
        _data(evidence.results, evidence.config),
        _metrics(evidence.results),
        _calibration(evidence.calibration),
        *(
            _embedding(evidence.results.get("embedding", {}))
            if evidence.alignment is None
            else [_aligned(evidence.alignment)]
        ),
        *([_graphs(graphs)] if graphs else []),
        _intended(aligned=evidence.alignment is not None),
        _config(evidence.config),
    ]
    return "\n\n".join(parts) + "\n"


_NEAR = """The embedding keeps what the tasks need: sentences with like targets are close, which need not
be those with a like topic."""

_NEAR_ALIGNED = """Sentences are close to each other as they are in the pre-trained model, not those with like
targets: these the heads read from it."""


def _intended(*, aligned: bool) -> str:
    return f"""## Intended use and limits

For sentences like those that it was trained on. {_NEAR_ALIGNED if aligned else _NEAR} The metrics hold for
the test split of the data above, and the stated probabilities and intervals for sentences of the same
source; neither has been checked on others. It says nothing about whether a sentence is true, and it may have
learned what is unfair in its data. Do not let it decide about people."""


def _use(model: TrainedModel, name: str, graphs: Mapping[str, Any]) -> str:
    onnx = (
        f"\n\n`{next(iter(graphs))}` is one ONNX graph of all this; its inputs `input_ids` and "
        "`attention_mask` come from `tokenizer.json`, which cuts as above; drop white space around "
        "a sentence before."
        if graphs
        else ""
    )
    return f"""## Use

```python
from sentence_transformers import SentenceTransformer

embeddings = SentenceTransformer("{name}").encode(["A sentence."])  # (1, {model.network.architecture.embedding_dim})
```

```python
import lit_mtl

model = lit_mtl.load("{name}")
embeddings = model.embed(["A sentence."])
predictions = model.predict(["A sentence."])  # {", ".join(model.network.tasks)}
```{onnx}"""


def _beginning(options: Mapping[str, Any]) -> str:
    """What the weights were before the training, in a sentence; nothing where it is not known."""
    if "backbone" not in options:
        return ""
    if not options.get("pretrained", True):
        return "It began with random weights. "
    name = _public(options["backbone"])
    if options.get("warm_start"):
        return f"It went on from the exported model `{name}`. "
    return f"It began with the pre-trained backbone `{name}`. "


def _hub_base(options: Mapping[str, Any]) -> str:
    """The line of the head by which the model hub knows the base; none of a base that is not there."""
    name = str(options.get("backbone", ""))
    local = name == PACKAGED or Path(name).is_dir()
    if local or not _HUB_NAME.fullmatch(name) or not options.get("pretrained", True):
        return ""
    return f"base_model: {name}\n"


def _public(backbone: str) -> str:
    """A backbone's name on the hub, or the last part of a folder's path."""
    return backbone if _HUB_NAME.fullmatch(backbone) else Path(backbone).name


def _base(evidence: Evidence) -> str:
    return (
        f"The backbone's weights are {1 - evidence.base_share:g} times the trained ones plus "
        f"{evidence.base_share:g} times the pre-trained ones (WiSE-FT, Wortsman et al. 2022); projection "
        "and heads are as they were trained."
    )


def _data(results: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    source = config.get("data", {})
    named = [str(source[key]) for key in ("corpus",) if source.get(key)]
    named += [Path(str(source["path"])).name] if source.get("path") else []
    named += [given.get("corpus") or name for name, given in (source.get("sources") or {}).items()]
    text = f"Trained on: {', '.join(dict.fromkeys(named))}." if named else "Not recorded."
    counts = [
        f"The {split} split has {found['n']} sentences for {task}."
        for split, tasks in results.get("results", {}).items()
        for task, found in tasks.items()
    ]
    return "## Data\n\n" + " ".join([text, *counts])


def _metrics(results: Mapping[str, Any]) -> str:
    if not results:
        return "## Metrics\n\nNot recorded: no results of these weights were found."
    rows = []
    for split, tasks in results["results"].items():
        for task, found in tasks.items():
            known = results.get("confidence_intervals", {}).get(split, {}).get(task, {})
            for metric, value in found.items():
                if isinstance(value, float):
                    ends = known.get(metric)
                    interval = "" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"
                    rows.append([task, split, metric, f"{value:.4f}", interval, found["n"]])
    table = tabulate(
        rows,
        ["task", "split", "metric", "value", "95 %", "n"],
        tablefmt="github",
        disable_numparse=True,
    )
    return f"## Metrics\n\n{table}\n\nThe intervals are percentiles of a bootstrap over the rows."


def _calibration(calibration: Calibration | None) -> str:
    if calibration is None:
        return (
            "## Calibration\n\nNone: probabilities are those of the softmax or sigmoid as it was "
            "trained, and scores have no interval."
        )
    rows = [
        [task, split, when, *(f"{value:.4f}" for value in numbers.values())]
        for task, split, when, numbers in calibration.measures()
    ]
    notes = [f"{note}." for note in calibration.notes()]
    headers = ["task", "split", "calibration", "stated", "observed", "ece", "by chance"]
    table = tabulate(rows, headers, tablefmt="github", disable_numparse=True)
    text = (
        "Mean stated probability (of an interval: its coverage; with several labels a sentence: of "
        "each), share that came true, expected calibration error, and what that error is on average "
        "where all that is stated is right. Temperatures and intervals were "
        "fitted on the validation split; its rows `after` are cross-checked in five parts."
    )
    return "\n\n".join(["## Calibration", *notes, *([table, text] if rows else [])])


def _embedding(health: Mapping[str, float | None]) -> list[str]:
    """The section on the embedding, if it was measured."""
    if not health:
        return []
    rows = [
        [name, "-" if value is None else f"{value:.4f}"]  # nothing varies, so nothing is correlated
        for name, value in health.items()
    ]
    table = tabulate(rows, ["measure", "value"], tablefmt="github", disable_numparse=True)
    text = (
        "On sentences of the validation split: `mean_cosine` of two of them (near 1 they all point "
        "the same way); `kept_similarity`, the rank correlation of the cosines of all pairs with "
        "those before the training; `neighbour_purity`, how often the nearest sentence has the same "
        "label, beside how often by chance. On scored pairs of the trainer's own choice: "
        "`pairs_spearman`, the rank correlation of cosines and scores, and that before the training."
    )
    return [f"## Embedding\n\n{table}\n\n{text}"]


def _aligned(found: Alignment) -> str:
    """The section on an embedding that was changed after the training."""
    return (
        "## Embedding\n\nProjection and heads were changed after the training so that cosines follow those "
        "in the pre-trained model as far as a linear map can, and predictions stay. It was fitted to "
        f"{found.sentences:,} sentences. On {found.measured:,} others the rank correlation of the cosines of "
        f"all pairs with those in the pre-trained model is {found.kept_similarity:.4f}, and was "
        f"{found.kept_similarity_before:.4f} before; no output of a head changed by more than "
        f"{found.largest_change:.1e}."
    )


def _graphs(graphs: Mapping[str, Any]) -> str:
    lines = []
    for name, facts in graphs.items():
        if "sentences" not in facts:
            lines.append(f"- `{name}`: float32, {facts['bytes'] / 1e6:.1f} MB.")
            continue
        tasks = "; ".join(
            f"{task} differs by {found['mean']:.4f} on average and {found['largest']:.4f} at most"
            + (f", {found['same_label']:.2%} same label" if "same_label" in found else "")
            for task, found in facts["tasks"].items()
        )
        lines.append(
            f"- `{name}`: int8, {facts['bytes_int8'] / 1e6:.1f} MB. On {facts['sentences']} sentences "
            f"of {facts['measured_on']}, compared with float32: cosine of the embeddings "
            f"{facts['cosine_mean']:.4f} on average and {facts['cosine_least']:.4f} at least; {tasks}."
        )
    return "## ONNX\n\n" + "\n".join(lines)


def _config(config: Mapping[str, Any]) -> str:
    if not config:
        return "## Configuration\n\nNot recorded."
    shown = {key: config[key] for key in _SHOWN if key in config}
    shown["trainer"] = {key: config.get("trainer", {}).get(key) for key in _TRAINER}
    shown["data"] = _without_paths(config.get("data", {}))
    if "backbone" in (options := config.get("model", {})):
        shown["model"] = {**options, "backbone": _public(options["backbone"])}
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
    return f"## Configuration\n\n```yaml\n{text}```"


def _without_paths(settings: Any) -> Any:
    """Settings of the data and of each source, less what names files of the user's machine."""
    if not isinstance(settings, Mapping):
        return settings
    return {key: _without_paths(value) for key, value in settings.items() if key not in _PATHS}
