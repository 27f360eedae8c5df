import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lit_mtl import folders
from lit_mtl.errors import StorageError
from lit_mtl.folders import atomic_folder, recovered

WRITER = """
import os, pathlib
from lit_mtl import folders
def stop(*args):
    os.kill(os.getpid(), 9)
{patch}
with folders.atomic_folder(pathlib.Path("it")) as folder:
    (folder / "part").mkdir()
    (folder / "part" / "file").write_text("new")
"""

KILLS = {
    "half written": "folders._sync = stop",
    "before its turn": "folders._put_in_place = stop",
    "after the exchange": "folders.sync_folder = lambda folder: folder.name or stop()\n"
    "put = folders._put_in_place\nfolders._put_in_place = lambda *a: (put(*a), stop())",
    "between two renames": "folders._exchange = lambda *a: False\n"
    "pathlib.Path.rename = lambda self, to, real=pathlib.Path.rename: "
    "(real(self, to), stop() if '.replaced-' in str(to) else None)",
}


def write(path: Path, text: str) -> None:
    with atomic_folder(path) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "file").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_appears_whole_and_replaces_an_old_one(
    exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    path = tmp_path / "new" / "it"
    for text in ("one", "two"):
        write(path, text)
        assert (path / "part" / "file").read_text() == text
        assert names(path.parent) == ["it"]
        assert path.stat().st_mode & 0o777 == 0o755


def test_the_two_names_are_exchanged_in_one_step_on_linux(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"was_{name}").touch()
    assert folders._exchange(tmp_path / "a", tmp_path / "b")
    assert (names(tmp_path / "a"), names(tmp_path / "b")) == (["was_b"], ["was_a"])
    assert not folders._exchange(tmp_path / "a", tmp_path / "missing")


@pytest.mark.parametrize("kill", KILLS)
def test_f20_a_killed_writer_leaves_the_old_folder_or_the_new_one(
    kill: str, tmp_path: Path
) -> None:
    path = tmp_path / "it"
    write(path, "old")
    script = WRITER.format(patch=KILLS[kill])
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert done.returncode == -9
    assert len(names(tmp_path)) == 2, "the kill came too late"
    recovered(path)
    assert names(tmp_path) == ["it"]
    new = kill == "after the exchange"
    assert (path / "part" / "file").read_text() == ("new" if new else "old")


def test_f20_a_failed_write_leaves_the_old_folder_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "it"
    write(path, "old")

    def full_disk(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageError, match="it: could not be written"):
        write(path, "new")
    assert (path / "part" / "file").read_text() == "old"
    assert names(tmp_path) == ["it"]


def test_a_writer_that_is_alive_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "it"
    with atomic_folder(path) as folder:
        (folder / "file").touch()
        recovered(path)
        assert names(folder) == ["file"]
    assert names(path) == ["file"]


def test_a_link_keeps_pointing_at_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "it", "old")
    (tmp_path / "link").symlink_to("it")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "it" / "part" / "file").read_text() == "new"


def test_what_a_killed_writer_left_is_removed_whatever_the_name(tmp_path: Path) -> None:
    (tmp_path / ".partial-model[1]-abc").mkdir()
    assert recovered(tmp_path / "model[1]") == tmp_path / "model[1]"
    assert names(tmp_path) == []
