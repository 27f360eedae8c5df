"""One ONNX graph from token ids to the sentence embedding and what every head says of it.

Shapes: B sentences, T tokens, D embedding dimension.
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_mtl.artifact.bundle import TrainedModel
from lit_mtl.artifact.length_batches import length_batches
from lit_mtl.errors import ConfigError
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.tasks.scores import StandardisedScoreTask
from lit_mtl.tokenization import tokenize

GRAPH = "multitask.onnx"
INT8 = "multitask.int8.onnx"

EMBEDDING = "sentence_embedding"

_TOLERANCE = 1e-4
"""Largest difference between graph and network on the trial batches; float32 gives about 1e-6.

In parts of an output's largest value or, if that is larger, of its task's unit.
"""

_TRIALS = ((1, 3), (3, 2), (5, 17))
"""Shapes (B, T) of the trial batches; all but the first row of each are padded."""


class DecodedModel(nn.Module):
    """The network with decoded outputs, as plain tensors.

    Args:
        network: in eval mode.
    """

    def __init__(self, network: MultiTaskModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Embedding (B, D), then each task's `predict` and, where it has one, its `interval`."""
        return tuple(self.named(input_ids, attention_mask).values())

    def named(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """The same by the names of the graph's outputs."""
        output = self.network(input_ids, attention_mask)
        found = {EMBEDDING: output.sentence_embedding}
        for name, task in self.network.tasks.items():
            prediction = task.predict(output.heads[name].float())
            found[f"{name}_prediction"] = prediction
            interval = task.interval(prediction)
            if interval is not None:
                found[f"{name}_interval"] = interval
        return found


def write_graph(model: TrainedModel, path: Path) -> None:
    """Export the graph and compare it with the network on a few batches.

    Raises:
        ConfigError: if the extra `onnx` is not installed, or the backbone's family cannot be
            exported, or the graph does not give what the network gives.
    """
    require_onnx()
    family = model.network.encoder.backbone.config.model_type
    decoded = DecodedModel(model.network)
    ids, mask = _trial(2, 7)
    names = list(decoded.named(ids, mask))
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")
    shape = {0: batch, 1: tokens}
    try:
        with _quiet():
            torch.onnx.export(
                decoded,
                (ids, mask),
                str(path),
                input_names=["input_ids", "attention_mask"],
                output_names=names,
                dynamic_shapes={"input_ids": shape, "attention_mask": shape},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        _describe(model, path)
        difference = largest_difference(model, path)
    except OSError:
        raise
    except Exception as error:  # exporter and runtime raise many types for what they do not know
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"A backbone of the family {family!r} cannot be exported as an ONNX graph "
            f"({reason[0]}). Export without --onnx"
        ) from error
    if not difference <= _TOLERANCE:
        raise ConfigError(
            f"The ONNX graph of a backbone of the family {family!r} differs from the network by "
            f"{difference:.1e}. Export without --onnx"
        )


def largest_difference(model: TrainedModel, path: Path) -> float:
    """Largest difference between a graph's outputs and the network's, in parts; see `_TOLERANCE`."""
    units = {
        f"{name}_{what}": task.unit[1]
        for name, task in model.network.tasks.items()
        if isinstance(task, StandardisedScoreTask)
        for what in ("prediction", "interval")
    }
    decoded = DecodedModel(model.network)
    session = open_session(path)
    largest = [0.0]
    for rows, tokens in _TRIALS:
        ids, mask = _trial(rows, tokens)
        with torch.inference_mode():
            expected = decoded.named(ids, mask)
        found = run_session(session, ids, mask)
        for name, value in expected.items():
            if tuple(value.shape) != found[name].shape:
                return float("inf")
            size = max(units.get(name, 1.0), float(value.abs().max()))
            largest.append(float(np.abs(value.numpy() - found[name]).max()) / size)
    return float(np.max(largest))  # no number if one of them is none


def write_int8(path: Path, quantized: Path) -> None:
    """Write the graph with weights in 8 bits and activations quantised as they come."""
    require_onnx()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            str(path),
            str(quantized),
            weight_type=QuantType.QInt8,
            per_channel=True,
            # a processor without VNNI would saturate the sums of full 8-bit products
            reduce_range=True,
        )


def quality_loss(
    model: TrainedModel, graph: Path, quantized: Path, texts: Sequence[str]
) -> dict[str, Any]:
    """What a quantised graph changes on given sentences.

    Args:
        model: the model of both graphs.
        graph: the graph in float32.
        quantized: the other one.
        texts: the sentences.

    Returns:
        `sentences`, bytes of both graphs, the mean and least cosine between the two embeddings of a
        sentence, and for each task the mean and largest absolute difference of its predictions and,
        where it has labels, the share that stays `same_label`.
    """
    exact, rough = (run_texts(model, open_session(path), texts) for path in (graph, quantized))
    cosine = functional.cosine_similarity(exact[EMBEDDING], rough[EMBEDDING], dim=-1)
    tasks = {}
    for name in model.network.tasks:
        one, other = exact[f"{name}_prediction"], rough[f"{name}_prediction"]
        difference = (one - other).abs()
        tasks[name] = {"mean": float(difference.mean()), "largest": float(difference.max())}
        if "label" in model.network.tasks[name].decode(one[0]):
            same = (one.argmax(dim=-1) == other.argmax(dim=-1)).double()
            tasks[name]["same_label"] = float(same.mean())
    return {
        "sentences": len(texts),
        "bytes": graph.stat().st_size,
        "bytes_int8": quantized.stat().st_size,
        "cosine_mean": float(cosine.mean()),
        "cosine_least": float(cosine.min()),
        "tasks": tasks,
    }


def open_session(path: Path) -> Any:
    """An ONNX Runtime session on the CPU."""
    require_onnx()
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run_session(session: Any, ids: Tensor, mask: Tensor) -> dict[str, np.ndarray[Any, Any]]:
    """Outputs by name of ids (B, T) under a mask (B, T)."""
    names = [output.name for output in session.get_outputs()]
    feed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    return dict(zip(names, session.run(names, feed), strict=True))


def run_texts(model: TrainedModel, session: Any, texts: Sequence[str]) -> dict[str, Tensor]:
    """Outputs by name of sentences, in their order."""
    rows, parts = [], []
    for numbers, ids, mask in length_batches(tokenize(model.tokenizer, texts)[0]):
        rows.append(numbers)
        parts.append(run_session(session, ids, mask))
    order = torch.cat(rows).argsort()
    return {
        name: torch.cat([torch.from_numpy(part[name]) for part in parts])[order]
        for name in parts[0]
    }


def require_onnx() -> None:
    """Refuse to begin without the libraries.

    Raises:
        ConfigError: saying what to install.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"ONNX graphs need the package {error.name}: pip install 'lit_mtl[onnx]'"
        ) from error


def _describe(model: TrainedModel, path: Path) -> None:
    """Let the graph say by itself what its outputs mean."""
    import onnx

    graph = onnx.load(str(path))
    tasks = {name: task.spec() for name, task in model.network.tasks.items()}
    facts: Mapping[str, Any] = {
        "lit_mtl.tasks": json.dumps(tasks),
        "lit_mtl.max_length": str(model.tokenizer.model_max_length),
    }
    for key, value in facts.items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value
    path.write_bytes(graph.SerializeToString())


def _trial(rows: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Ids and a mask in which each row is a token shorter than the one before, at the least one."""
    ids = torch.arange(rows * tokens).reshape(rows, tokens) % 11 + 5
    lengths = (tokens - torch.arange(rows)).clamp(min=1)
    mask = (torch.arange(tokens) < lengths.unsqueeze(1)).to(torch.int64)
    return ids * mask, mask


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporter and quantiser talk to their developers on every channel."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
