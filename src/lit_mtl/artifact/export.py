"""From a checkpoint to an exported folder."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from lit_mtl.artifact.base_alignment import align_to_base
from lit_mtl.artifact.base_share import base_of, refuse_overwritten_base
from lit_mtl.artifact.bundle import TrainedModel, calibration_of, load_checkpoint, run_of
from lit_mtl.artifact.card import Evidence, model_card
from lit_mtl.artifact.folder import (
    CARD,
    MANIFEST,
    architecture_of,
    read_folder_manifest,
    write_manifest,
    write_model,
)
from lit_mtl.artifact.onnx_graph import (
    GRAPH,
    INT8,
    quality_loss,
    require_onnx,
    write_graph,
    write_int8,
)
from lit_mtl.calibration import Calibration
from lit_mtl.checkpoints import SPEC_KEY, manifest_of, read_checkpoint, read_manifest
from lit_mtl.errors import ConfigError, LitMTLError, MissingInputError, StorageError
from lit_mtl.folders import atomic_folder, recovered

_FACTS = ("file", "sha256", "step", "epoch", "versions")
"""What the manifest of an export repeats of its checkpoint's."""


def export(
    checkpoint: Path,
    output: Path,
    *,
    overwrite: bool = False,
    onnx: bool = False,
    int8_texts: tuple[str, Sequence[str]] | None = None,
    base_share: float = 0.0,
    align_texts: Sequence[str] | None = None,
) -> Evidence:
    """Write the folder, complete or not at all.

    Args:
        checkpoint: of `fit`.
        output: the folder to write.
        overwrite: whether an export that stands there may be replaced.
        onnx: whether to add a graph for ONNX Runtime.
        int8_texts: name and sentences of a file, to add an int8 graph whose loss of quality is
            measured on them.
        base_share: share of the pre-trained weights in the backbone; see `load_checkpoint`.
        align_texts: sentences on which the embedding is aligned to the base; see `align_to_base`.

    Returns:
        What was found of the checkpoint's run.

    Raises:
        MissingInputError: if there is no such checkpoint, or no base where it is needed.
        ConfigError: if something else stands at `output`, the graph is not to be had, there is no
            base to share, or nothing can be aligned to it.
        StorageError: if the disk is full or the checkpoint damaged.
    """
    refuse_foreign(output, overwrite=overwrite)
    if onnx or int8_texts:
        require_onnx()
    model = load_checkpoint(checkpoint, base_share=base_share)
    evidence = evidence_of(checkpoint)
    if base_share:
        evidence = Evidence(config=evidence.config, base_share=base_share)
    if align_texts is not None:
        spec = read_checkpoint(checkpoint)[SPEC_KEY]
        base = base_of(spec, wanted_by="align_to_base")
        refuse_overwritten_base(spec, wanted_by="align_to_base")
        evidence = replace(evidence, alignment=align_to_base(model, align_texts, base=base))
    with atomic_folder(output) as folder:
        tokenizer = write_model(model, folder)
        graphs = _write_graphs(model, folder, int8_texts) if onnx or int8_texts else {}
        card = model_card(model, evidence, name=output.resolve().name, graphs=graphs)
        (folder / CARD).write_text(card, encoding="utf-8")
        write_manifest(
            folder,
            {
                "checkpoint": _facts_of(checkpoint),
                "architecture": architecture_of(model),
                "tokenizer": tokenizer,
                "max_length": int(model.tokenizer.model_max_length),
                "base_share": base_share,
                "aligned_to_base": evidence.alignment and asdict(evidence.alignment),
                "calibrated": _is_calibrated(evidence.calibration),
                "graphs": graphs,
            },
        )
    return evidence


def _is_calibrated(calibration: Calibration | None) -> bool:
    """Whether any task is; each has a note if not."""
    found = {} if calibration is None else calibration.report
    return any(task["note"] is None for task in found.values())


def refuse_foreign(output: Path, *, overwrite: bool) -> None:
    """Only an export of this project is replaced, and only if that is asked for.

    Raises:
        ConfigError: saying what stands there.
    """
    recovered(output)
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not output.is_dir() or not (output / MANIFEST).is_file():
        raise ConfigError(f"{output}: holds something else than an export; choose another folder")
    try:
        listed = set(read_folder_manifest(output)["files"])
    except LitMTLError as error:
        raise ConfigError(f"{output}: is no export that may be replaced ({error})") from error
    if not overwrite:
        raise ConfigError(f"{output}: holds an export already. Replace it with --overwrite")
    found = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    if other := sorted(found - listed - {MANIFEST, CARD}):
        raise ConfigError(
            f"{output}: holds {other[0]}, which is no part of the export there and would be lost"
        )


def evidence_of(checkpoint: Path) -> Evidence:
    """Results, config and calibration from the folder of the run, if they are of this checkpoint.

    Raises:
        StorageError: if they are there and cannot be read.
    """
    real, run = checkpoint.resolve(), run_of(checkpoint)
    calibration = calibration_of(checkpoint)
    if not manifest_of(real).is_file() or not (run / "results.json").is_file():
        return Evidence(calibration=calibration)
    try:
        results = json.loads((run / "results.json").read_bytes())
        if results.get("checkpoint_sha256") != read_manifest(real)["sha256"]:
            return Evidence(calibration=calibration)
        path = run / "config.yaml"
        config = yaml.safe_load(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise StorageError(
            f"{run}: results.json or config.yaml is not readable ({error})"
        ) from error
    return Evidence(results=results, config=config or {}, calibration=calibration)


def _write_graphs(
    model: TrainedModel, folder: Path, int8_texts: tuple[str, Sequence[str]] | None
) -> dict[str, Any]:
    """Write the graphs; returns what the manifest says of each."""
    graph = folder / GRAPH
    write_graph(model, graph)
    facts: dict[str, Any] = {GRAPH: {"bytes": graph.stat().st_size}}
    if int8_texts is not None:
        name, texts = int8_texts
        if not texts:
            raise MissingInputError(f"{name}: expected sentences to measure the int8 graph on")
        write_int8(graph, folder / INT8)
        loss = quality_loss(model, graph, folder / INT8, texts)
        facts[INT8] = {"measured_on": name, **loss}
    return facts


def _facts_of(checkpoint: Path) -> dict[str, Any]:
    real = checkpoint.resolve()
    if not manifest_of(real).is_file():
        return {"file": real.name}
    manifest = read_manifest(real)
    return {key: manifest[key] for key in _FACTS if key in manifest}
