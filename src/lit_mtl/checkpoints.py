"""Checkpoint files: written durably beside a manifest, checked before they are read.

A manifest is the checkpoint's name with `.json`: what it is (step, data, versions) and the SHA-256
of the file. It is written last, so a state without one, or with that of a file of the same name
before it, was never completed.
"""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lit_mtl.errors import ConfigError, LitMTLError, MissingInputError, StorageError
from lit_mtl.files import atomic_writer, sha256_of, write_atomically

SPEC_KEY = "lit_mtl"
"""Key of a checkpoint under which everything stands that rebuilds model and tokenizer."""

STATES = "step_*.ckpt"
"""Names of the resumable checkpoints; they end in the optimizer step."""

SCHEMA = 1
"""Version of the manifest's form."""

_ENTRIES = {
    SPEC_KEY: dict,
    "state_dict": dict,
    "epoch": int,
    "global_step": int,
    "pytorch-lightning_version": str,
}
"""What every checkpoint has, with its type; the first is read by `MultiTaskModel.from_spec`."""

_PACKAGES = ("lit_mtl", "torch", "lightning", "transformers")


def write_checkpoint(
    checkpoint: Mapping[str, Any], path: Path, facts: Mapping[str, Any] | None = None
) -> None:
    """Write a checkpoint and its manifest.

    Args:
        checkpoint: plain values and tensors.
        path: where to.
        facts: what the manifest says beside size, sum, step and versions; plain values.

    Raises:
        StorageError: if the disk is full or cannot be written; what stood there is left.
    """
    with atomic_writer(path) as file:
        try:
            torch.save(dict(checkpoint), file)
        except RuntimeError as error:
            # torch's writer reports the failed write of a full disk as one of these
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise
    content = {
        "schema": SCHEMA,
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "step": checkpoint["global_step"],
        "epoch": checkpoint["epoch"],
        "versions": {name: version(name) for name in _PACKAGES},
        **(facts or {}),
    }
    write_atomically(manifest_of(path), (json.dumps(content, indent=2) + "\n").encode())


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a local checkpoint without running any code from it.

    Raises:
        MissingInputError: if there is no such file.
        StorageError: if it is damaged or no checkpoint at all.
        ConfigError: if it is not a checkpoint of this project.
    """
    verify(path)
    checkpoint = read_tensors(path, kind="checkpoint")
    if not isinstance(checkpoint, dict) or SPEC_KEY not in checkpoint:
        raise ConfigError(f"{path}: not a checkpoint of lit_mtl (it has no entry {SPEC_KEY!r})")
    for key, kind in _ENTRIES.items():
        if not isinstance(checkpoint.get(key), kind):
            found = type(checkpoint.get(key)).__name__
            raise ConfigError(
                f"{path}: expected its entry {key!r} to be of type {kind.__name__}; found {found}"
            )
    return checkpoint


def read_tensors(path: str | Path, *, kind: str) -> Any:
    """Plain values and tensors that torch has saved, on the processor; nothing in the file is executed.

    Args:
        path: the file.
        kind: what it is, for the message.

    Raises:
        StorageError: if it cannot be read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for files it cannot read
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise StorageError(f"{path}: not a readable {kind} ({reason[0]})") from error


def verify(path: str | Path) -> dict[str, Any] | None:
    """Compare a checkpoint with its manifest.

    Returns:
        The manifest; None if there is none beside it, as when the file alone was copied.

    Raises:
        MissingInputError: if there is no such checkpoint.
        StorageError: if they differ.
    """
    if not Path(path).is_file():
        raise MissingInputError(f"{path}: expected a checkpoint file, found none")
    real = Path(path).resolve()  # `last.ckpt` is a link
    if not manifest_of(real).is_file():
        return None
    manifest = read_manifest(real)
    size = real.stat().st_size
    if size != manifest.get("bytes"):
        raise StorageError(
            f"{path}: damaged, it has {size} bytes; its manifest says {manifest.get('bytes')}"
        )
    if sha256_of(real) != manifest.get("sha256"):
        raise StorageError(f"{path}: damaged, its SHA-256 is not that of its manifest")
    return manifest


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        StorageError: if it cannot be read.
    """
    try:
        manifest = json.loads(manifest_of(path).read_bytes())
    except (OSError, ValueError) as error:
        raise StorageError(f"{manifest_of(path)}: not a readable manifest ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise StorageError(f"{manifest_of(path)}: expected a manifest of schema {SCHEMA}")
    return manifest


def newest_valid(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest resumable checkpoint of a folder, and a complaint about each newer one."""
    complaints: list[str] = []
    for path in sorted(folder.glob(STATES), key=_step_of_name, reverse=True):
        try:
            if verify(path) is not None:
                return path, complaints
            complaints.append(f"{path}: not complete, it has no manifest")
        except LitMTLError as error:
            complaints.append(str(error))
    return None, complaints


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint, its manifest first: a crash between leaves none that looks whole."""
    manifest_of(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def manifest_of(path: Path) -> Path:
    """Where the manifest of a checkpoint stands."""
    return path.with_suffix(".json")


def _step_of_name(path: Path) -> int:
    digits = path.stem.rpartition("_")[2]
    return int(digits) if digits.isdecimal() else -1
