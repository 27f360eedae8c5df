import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lit_mtl.data.cache import contents_of, default_cache, ensure, entry, refuse_changed
from lit_mtl.errors import DataError, MissingInputError, StorageError
from tests.data.test_readers import write


def test_the_key_follows_contents_and_settings_and_no_dates(tmp_path: Path) -> None:
    path = write(tmp_path / "in" / "a.txt", "one\n")
    first = contents_of([path])
    assert list(first) == [str(path)]
    os.utime(path, (0, 0))
    assert contents_of([path])[str(path)].sum == first[str(path)].sum
    write(path, "two\n")
    assert contents_of([path])[str(path)].sum != first[str(path)].sum
    assert entry(tmp_path, {"a": 1}) == entry(tmp_path, {"a": 1}) != entry(tmp_path, {"a": 2})


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("more\n")


def rewrite_in_place(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"")
    path.write_bytes(content)


def replace_by_the_same(path: Path) -> None:
    write(path.with_suffix(".new"), path.read_bytes()).replace(path)


@pytest.mark.parametrize("change", [append, rewrite_in_place, replace_by_the_same, Path.unlink])
def test_whoever_touches_a_file_while_it_is_read_is_noticed(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """Even if it holds the same at the end: what was read in between is not known."""
    paths = [write(tmp_path / f"{name}.txt", "one\n") for name in "ab"]
    for path in paths:
        os.utime(path, (0, 0))
    known = contents_of(paths)
    refuse_changed(paths, known)
    change(paths[1])
    refuse_changed(paths[:1], known)
    with pytest.raises(DataError, match=r"b\.txt: expected a file that stays .* changed meanwhile"):
        refuse_changed(paths, known)


def test_a_file_that_appears_while_others_are_read_is_noticed(tmp_path: Path) -> None:
    known = contents_of([])
    with pytest.raises(DataError, match=r"late\.txt: .*changed meanwhile"):
        refuse_changed([write(tmp_path / "late.txt", "x")], known)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MissingInputError, match="pipe or device"):
        contents_of([tmp_path / "pipe"])


def test_an_entry_is_built_once_and_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "key"
    built = []

    def build(into: Path) -> None:
        assert not folder.exists()
        write(into / "a", "content")
        built.append(into)

    for _ in range(2):
        ensure(folder, build)
    assert len(built) == 1
    assert [path.name for path in folder.iterdir()] == ["a"]

    def fails(into: Path) -> None:
        write(into / "half", "x")
        raise DataError("a.txt:3: wrong")

    with pytest.raises(DataError, match=r"a\.txt:3"):
        ensure(tmp_path / "cache" / "other", fails)
    assert [path.name for path in folder.parent.iterdir()] == ["key"]


def test_a_second_process_that_was_faster_does_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / "key"

    def build(into: Path) -> None:
        write(into / "a", "mine")
        write(folder / "a", "theirs")

    ensure(folder, build)
    assert (folder / "a").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_old_entries_and_what_killed_processes_left_are_removed_and_nothing_else(
    tmp_path: Path,
) -> None:
    """The folder may hold other things, and other machines may be at work in it."""
    old, used, new, fresh = (digit * 32 for digit in "abcd")
    here, gone = socket.gethostname(), 999_999_999
    mine, left = f".partial-{os.getpid()}-{here}-x", f".partial-{gone}-{here}-x"
    theirs, given_up = f".partial-{gone}-other-x", f".partial-{gone}-another-x"
    odd = ".partial-x"
    ages = {old: 40, used: 40, new: 1, "thesis": 40, "e" * 31: 40, mine: 1, left: 1}
    for name, days in (ages | {theirs: 1, given_up: 40, odd: 1}).items():
        write(tmp_path / name / "a", "x")
        then = time.time() - days * 86_400
        os.utime(tmp_path / name, (then, then))
    write(tmp_path / ("f" * 32), "a file")
    os.utime(tmp_path / ("f" * 32), (0, 0))
    ensure(tmp_path / used, lambda into: None)
    ensure(tmp_path / fresh, lambda into: None)
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {used, new, fresh, "thesis", "e" * 31, mine, theirs, odd, "f" * 32}


def test_a_folder_that_cannot_be_written_is_said_with_the_way_out(tmp_path: Path) -> None:
    write(tmp_path / "file", "x")
    with pytest.raises(StorageError, match=r"file: .*data\.cache_dir"):
        ensure(tmp_path / "file" / "key", lambda into: None)


def test_the_place_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_cache() == Path("/caches/lit_mtl")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "lit_mtl"
