import os
import subprocess
import sys
from pathlib import Path

import pytest

from lit_mtl.errors import ConfigError, StorageError
from lit_mtl.files import locked, remove_partial, write_atomically


def test_a_file_appears_whole_in_a_new_folder_and_replaces_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.bin"
    for content in (b"one", b"two"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]
    before = os.umask(0o077)
    try:
        write_atomically(path.with_name("private"), b"")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~before
    assert path.with_name("private").stat().st_mode & 0o777 == 0o600
    path.with_name("private").unlink()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.bin"
    write_atomically(path, b"old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    script = (
        "import os, pathlib\n"
        "from lit_mtl.files import atomic_writer\n"
        "with atomic_writer(pathlib.Path('file.bin')) as file:\n"
        "    file.write(b'half')\n"
        "    file.flush()\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    (tmp_path / "file.bin").write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert done.returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    remove_partial(tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_folder_is_locked_for_others_until_the_holder_ends(tmp_path: Path) -> None:
    script = "import pathlib\nfrom lit_mtl.files import locked\n"
    script += "with locked(pathlib.Path('run')):\n    print('locked', flush=True)\n    input()\n"
    holder = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        message = rf"run: another run \(process {holder.pid}\)"
        with pytest.raises(ConfigError, match=message), locked(tmp_path / "run"):
            pass
        holder.kill()
    with locked(tmp_path / "run"), pytest.raises(ConfigError), locked(tmp_path / "run"):
        pass
    with locked(tmp_path / "run"):
        pass


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"), locked(tmp_path / "file" / "run"):
        pass
    with pytest.raises(StorageError, match=r"x\.bin: could not be written"):
        write_atomically(tmp_path / "file" / "x.bin", b"")


@pytest.mark.parametrize("name", ["out[1].csv", "o*.csv"])
def test_what_is_left_of_a_file_is_told_by_its_whole_name(tmp_path: Path, name: str) -> None:
    for left in (name, "other.csv"):
        (tmp_path / f".partial-{left}-abc").touch()
    remove_partial(tmp_path, name)
    assert [path.name for path in tmp_path.iterdir()] == [".partial-other.csv-abc"]
