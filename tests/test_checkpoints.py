import os
from pathlib import Path
from typing import Any

import pytest
import torch

from lit_mtl.checkpoints import (
    SPEC_KEY,
    manifest_of,
    newest_valid,
    read_checkpoint,
    read_manifest,
    remove_checkpoint,
    verify,
    write_checkpoint,
)
from lit_mtl.errors import ConfigError, MissingInputError, StorageError


def content(step: int = 3) -> dict[str, Any]:
    weights = {"weight": torch.arange(5000.0) + step}
    entries = {"global_step": step, "epoch": 1, "pytorch-lightning_version": "2"}
    return {**entries, "state_dict": weights, SPEC_KEY: {"format": 1}}


def damage(path: Path, how: str) -> None:
    """Cut a file to a share of its length, flip a byte, or replace it by another kind of file."""
    data = bytearray(path.read_bytes())
    if how.endswith("%"):
        del data[len(data) * int(how[:-1]) // 100 :]
    elif how == "flip":
        data[len(data) // 2] ^= 1
    else:
        data[:] = b"%PDF-1.7 certainly no checkpoint"
    path.write_bytes(data)


DAMAGES = ["0%", "1%", "50%", "99%", "flip", "type"]


def test_a_checkpoint_returns_whole_with_a_manifest_of_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "new" / "step_3.ckpt"
    write_checkpoint(content(), path, {"kind": "resumable"})
    assert torch.equal(
        read_checkpoint(path)["state_dict"]["weight"], content()["state_dict"]["weight"]
    )
    manifest = verify(path)
    assert manifest is not None
    assert manifest["bytes"] == path.stat().st_size
    assert (manifest["step"], manifest["epoch"], manifest["kind"]) == (3, 1, "resumable")
    assert set(manifest["versions"]) == {"lit_mtl", "torch", "lightning", "transformers"}
    assert {entry.name for entry in path.parent.iterdir()} == {"step_3.ckpt", "step_3.json"}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_is_told_by_its_manifest(tmp_path: Path, how: str) -> None:
    path = tmp_path / "step_3.ckpt"
    write_checkpoint(content(), path)
    damage(path, how)
    for read in (verify, read_checkpoint):
        with pytest.raises(StorageError, match=r"step_3\.ckpt: damaged"):
            read(path)


@pytest.mark.parametrize("how", ["0%", "1%", "50%", "99%", "type"])
def test_without_a_manifest_what_cannot_be_read_is_one_line(tmp_path: Path, how: str) -> None:
    path = tmp_path / "alone.ckpt"
    write_checkpoint(content(), path)
    manifest_of(path).unlink()
    assert verify(path) is None
    damage(path, how)
    with pytest.raises(StorageError, match=r"alone\.ckpt: not a readable checkpoint") as caught:
        read_checkpoint(path)
    assert len(str(caught.value).splitlines()) == 1


def test_the_newest_whole_one_is_found_and_each_newer_one_is_named(tmp_path: Path) -> None:
    assert newest_valid(tmp_path / "nowhere") == (None, [])
    for step in (5, 30, 200, 1000, 4000):
        write_checkpoint(content(step), tmp_path / f"step_{step}.ckpt")
    write_checkpoint(content(9000), tmp_path / "best_9000.ckpt")
    assert newest_valid(tmp_path) == (tmp_path / "step_4000.ckpt", [])
    damage(tmp_path / "step_4000.ckpt", "flip")
    manifest_of(tmp_path / "step_1000.ckpt").unlink()
    manifest_of(tmp_path / "step_200.ckpt").write_text("{")
    path, complaints = newest_valid(tmp_path)
    assert path == tmp_path / "step_30.ckpt"
    assert [name in line for name, line in zip(("4000", "1000", "200"), complaints, strict=True)]
    assert "damaged" in complaints[0]
    assert "no manifest" in complaints[1]
    assert "not a readable manifest" in complaints[2]


def test_a_failed_write_leaves_the_old_one_valid_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "step_3.ckpt"
    write_checkpoint(content(3), path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"step_3\.ckpt: could not be written .No space left"):
        write_checkpoint(content(4), path)
    assert read_checkpoint(path)["global_step"] == 3
    assert verify(path) is not None
    assert {entry.name for entry in tmp_path.iterdir()} == {"step_3.ckpt", "step_3.json"}


def test_a_link_is_checked_by_the_manifest_of_its_file(tmp_path: Path) -> None:
    path, link = tmp_path / "step_3.ckpt", tmp_path / "last.ckpt"
    write_checkpoint(content(), path)
    link.symlink_to(path.name)
    assert verify(link) is not None
    damage(path, "flip")
    with pytest.raises(StorageError, match=r"last\.ckpt: damaged"):
        verify(link)


def test_removing_takes_the_manifest_along(tmp_path: Path) -> None:
    path = tmp_path / "step_3.ckpt"
    write_checkpoint(content(), path)
    remove_checkpoint(path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["[]", '{"schema": 99}', "\0"])
def test_a_manifest_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "step_3.json").write_text(text)
    with pytest.raises(StorageError, match="manifest"):
        read_manifest(tmp_path / "step_3.ckpt")


class _Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path, str]]:
        return open, (self.path, "w")


@pytest.mark.parametrize("key", content())
def test_an_entry_of_another_type_is_refused_by_name(tmp_path: Path, key: str) -> None:
    path = tmp_path / "odd.ckpt"
    torch.save(content() | {key: [1]}, path)
    with pytest.raises(ConfigError, match=rf"odd\.ckpt: expected its entry '{key}'.*found list"):
        read_checkpoint(path)


def test_a_checkpoint_is_read_without_running_it(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    hostile, foreign = tmp_path / "hostile.ckpt", tmp_path / "foreign.ckpt"
    torch.save({SPEC_KEY: _Hostile(marker)}, hostile)
    torch.save({"state_dict": {}}, foreign)
    with pytest.raises(StorageError, match=r"hostile\.ckpt: not a readable checkpoint"):
        read_checkpoint(hostile)
    assert not marker.exists()
    with pytest.raises(ConfigError, match="not a checkpoint of lit_mtl"):
        read_checkpoint(foreign)
    with pytest.raises(MissingInputError, match="found none"):
        read_checkpoint(tmp_path / "nowhere.ckpt")
