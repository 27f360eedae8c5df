"""The exported folder: a SentenceTransformer of stock modules, its heads, and a manifest.

The libraries that load it later read their own files from it: `modules.json` and what it names are
spelt as sentence-transformers 3 wrote them, which versions 3 to 6 read. This project reads only files
that the manifest lists, and shows no library the folder itself.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from lit_mtl.artifact.bundle import TrainedModel
from lit_mtl.errors import ConfigError, LitMTLError, MissingInputError, StorageError
from lit_mtl.files import sha256_of
from lit_mtl.model.multitask import SPEC_FORMAT, MultiTaskModel
from lit_mtl.pretrained import pack_tokenizer, unpack_tokenizer

MANIFEST = "manifest.json"
TASKS = "tasks.json"
HEADS = "heads.safetensors"
CARD = "README.md"

KIND = "lit_mtl export"
SCHEMA = 1
"""Version of the manifest's form."""

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_POOLING = "1_Pooling/config.json"
_DENSE = "2_Dense/config.json"
_DENSE_WEIGHTS = "2_Dense/model.safetensors"
_NORMALIZE = "3_Normalize/config.json"

_POOLER = "pooler."

_POOLING_MODES = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens"}


def write_model(model: TrainedModel, folder: Path) -> list[str]:
    """Write all that a model needs into an empty folder.

    Returns:
        The names of the tokenizer's files.

    Raises:
        StorageError: if the disk is full.
    """
    network = model.network
    transformer = network.encoder.backbone.transformer
    config = copy.deepcopy(transformer.config)
    config.architectures = [type(transformer).__name__]
    (folder / _CONFIG).write_text(config.to_json_string(use_diff=True), encoding="utf-8")
    _save_tensors({**transformer.state_dict(), **_pooler(model)}, folder / _WEIGHTS)
    tokenizer = pack_tokenizer(model.tokenizer, cuts=True)
    for name, content in tokenizer.items():
        (folder / name).write_bytes(content.numpy().tobytes())
    for name, content in _module_files(model).items():
        write_json(folder / name, content)
    projection = network.encoder.projection.state_dict()
    named = {f"linear.{name}": value for name, value in projection.items()}
    _save_tensors(named, folder / _DENSE_WEIGHTS)
    _save_tensors(network.heads.state_dict(), folder / HEADS)
    write_json(folder / TASKS, {name: task.spec() for name, task in network.tasks.items()})
    return sorted(tokenizer)


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the manifest: the last file, as it has the sums of all others.

    The model card is left out: it is there to be edited.

    Args:
        folder: with all other files.
        facts: what it says beside sums and versions; plain values.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = {
        "schema": SCHEMA,
        "kind": KIND,
        "versions": {name: version(name) for name in ("lit_mtl", "torch", "transformers")},
        **facts,
        "files": {
            path.relative_to(folder).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": sha256_of(path),
            }
            for path in files
            if path.name != CARD
        },
    }
    write_json(folder / MANIFEST, content)


def architecture_of(model: TrainedModel) -> dict[str, Any]:
    """What stands on top of the backbone, as the manifest says it."""
    return asdict(model.network.architecture)


def read_folder(folder: str | Path) -> TrainedModel:
    """Load an exported folder, checked against its manifest; nothing in it is executed.

    Raises:
        MissingInputError: if there is no such folder.
        StorageError: if a file is damaged, missing or unreadable.
        ConfigError: if it is not an export of this project.
    """
    folder = Path(folder)
    manifest = verify_folder(folder)
    try:
        return _read(folder, manifest)
    except LitMTLError:
        raise
    except Exception as error:  # whatever libraries raise for content that is not theirs
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise StorageError(f"{folder}: not a readable export ({reason[0]})") from error


def is_export(folder: Path) -> bool:
    """Whether a folder says that it is one of `export`."""
    return (folder / MANIFEST).is_file()


def verify_folder(folder: Path) -> dict[str, Any]:
    """Compare all files of an exported folder with its manifest, and return that.

    Raises:
        MissingInputError: if there is no such folder.
        StorageError: if they differ.
        ConfigError: if it is not an export of this project.
    """
    manifest = read_folder_manifest(folder)
    for name, facts in manifest["files"].items():
        path = folder / _safe(name, folder)
        if not path.is_file():
            raise StorageError(f"{path}: missing, the manifest lists it")
        if path.stat().st_size != facts["bytes"] or sha256_of(path) != facts["sha256"]:
            raise StorageError(f"{path}: damaged, its SHA-256 is not that of the manifest")
    return manifest


def read_folder_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an exported folder.

    Raises:
        MissingInputError: if there is no such folder.
        StorageError: if the manifest cannot be read.
        ConfigError: if there is none of this project.
    """
    if not folder.is_dir():
        raise MissingInputError(f"{folder}: expected an exported folder, found none")
    path = folder / MANIFEST
    if not is_export(folder):
        raise ConfigError(f"{folder}: not a folder of `export`: it has no {MANIFEST}")
    try:
        manifest = json.loads(path.read_bytes())
        known = manifest["kind"] == KIND
        sums = {
            name: (facts["bytes"], facts["sha256"]) for name, facts in manifest["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: not a readable manifest ({error!r})") from error
    if not known or manifest.get("schema") != SCHEMA:
        raise ConfigError(f"{path}: expected a manifest of `export` with schema {SCHEMA}")
    if missing := {_CONFIG, _WEIGHTS, _DENSE_WEIGHTS, HEADS, TASKS} - set(sums):
        raise StorageError(f"{path}: does not list {', '.join(sorted(missing))}")
    return manifest if isinstance(manifest, dict) else {}


def _read(folder: Path, manifest: Mapping[str, Any]) -> TrainedModel:
    network = MultiTaskModel.from_spec(
        {
            "format": SPEC_FORMAT,
            "backbone_config": (folder / _CONFIG).read_text(encoding="utf-8"),
            "architecture": manifest["architecture"],
            "tasks": json.loads((folder / TASKS).read_bytes()),
        }
    )
    weights = _tensors(folder / _WEIGHTS)
    own = {name: value for name, value in weights.items() if not name.startswith(_POOLER)}
    network.encoder.backbone.transformer.load_state_dict(own)
    projection = _tensors(folder / _DENSE_WEIGHTS)
    network.encoder.projection.load_state_dict(
        {name.removeprefix("linear."): value for name, value in projection.items()}
    )
    network.heads.load_state_dict(_tensors(folder / HEADS))
    files = {}
    for name in manifest["tokenizer"]:
        if name not in manifest["files"]:
            raise StorageError(f"{folder / MANIFEST}: lists no sum of the tokenizer's {name}")
        content = bytearray((folder / _safe(name, folder)).read_bytes())
        files[name] = torch.frombuffer(content, dtype=torch.uint8)
    tokenizer = unpack_tokenizer(files, network.encoder.backbone.config)
    return TrainedModel(network, tokenizer)


def _pooler(model: TrainedModel) -> dict[str, Tensor]:
    """Zeros for the pooler that transformers adds to some families and nothing here uses.

    Without them, whoever loads the folder would be told that weights are missing.
    """
    backbone = model.network.encoder.backbone
    if not backbone.has_pooler:
        return {}
    size = backbone.hidden_size
    return {
        f"{_POOLER}dense.weight": torch.zeros(size, size),
        f"{_POOLER}dense.bias": torch.zeros(size),
    }


def _safe(name: str, folder: Path) -> str:
    """A name from a manifest, if it is one within the folder."""
    path = PurePosixPath(name)
    inside = not path.is_absolute() and ".." not in path.parts and "\\" not in name
    if not inside or not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise StorageError(f"{folder / MANIFEST}: lists {name!r}, which is not within the folder")
    return name


def _module_files(model: TrainedModel) -> dict[str, Any]:
    """The files that sentence-transformers reads beside weights and tokenizer."""
    network = model.network
    mode = network.architecture.pooling
    hidden, dimension = network.encoder.backbone.hidden_size, network.architecture.embedding_dim
    modules = ["Transformer", "Pooling", "Dense", *["Normalize"] * network.architecture.normalize]
    content: dict[str, Any] = {
        "modules.json": [
            {
                "idx": number,
                "name": str(number),
                "path": f"{number}_{kind}" if number else "",
                # an alias in versions 6 and above, and the only name before them
                "type": f"sentence_transformers.models.{kind}",
            }
            for number, kind in enumerate(modules)
        ],
        "config_sentence_transformers.json": {
            "__version__": {"transformers": version("transformers"), "pytorch": torch.__version__},
            "prompts": {},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
        "sentence_bert_config.json": {
            "max_seq_length": int(model.tokenizer.model_max_length),
            "do_lower_case": False,
        },
        _POOLING: {
            "word_embedding_dimension": hidden,
            **{f"pooling_mode_{key}": name == mode for name, key in _POOLING_MODES.items()},
        },
        _DENSE: {
            "in_features": hidden,
            "out_features": dimension,
            "bias": True,
            # its default is Tanh
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    }
    return {**content, _NORMALIZE: {}} if network.architecture.normalize else content


def write_json(path: Path, content: Any) -> None:
    """Write plain values; folders on the way are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        # not by its own writer, whose files only their owner may read
        path.write_bytes(
            save({name: value.contiguous() for name, value in tensors.items()}, {"format": "pt"})
        )
    except OSError as error:
        raise StorageError(f"{path}: could not be written ({error})") from error


def _tensors(path: Path) -> dict[str, Tensor]:
    return load(path.read_bytes())
