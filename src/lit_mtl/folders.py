"""Folders that appear complete or not at all, and that take an old one's place at once.

A folder is written under a name of its own beside the final one, synced, and renamed. Where an old
one stands, Linux exchanges the two names in one step (`renameat2`). Where that is not to be had, the
old one is renamed first; a process that is killed between these two renames leaves it under a name
from which `recovered` brings it back.
"""

import ctypes
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lit_mtl.errors import LitMTLError, StorageError
from lit_mtl.files import PARTIAL, sync_folder

_REPLACED = ".replaced-"

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder to fill that gets its name when the block ends; one that stands there goes.

    Whether the old one may go is for the caller to decide before.

    Args:
        path: the final name; folders on the way to it are made.

    Raises:
        StorageError: if it cannot be written; what stood there is left.
    """
    path = Path(os.path.realpath(path))  # a link keeps pointing at it
    partial: Path | None = None
    handle = -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        recovered(path)
        new = path.with_name(f"{PARTIAL}{path.name}-{secrets.token_hex(8)}")
        new.mkdir()  # with the permissions of the user's umask
        partial = new
        handle = os.open(partial, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)  # says that its writer is alive
        yield partial
        _sync(partial)
        _put_in_place(partial, path)
        sync_folder(path.parent)
    except LitMTLError:  # of whoever writes; some of them are OSErrors
        raise
    except OSError as error:
        raise StorageError(f"{path}: could not be written ({error.strerror or error})") from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        if handle >= 0:
            os.close(handle)


def recovered(path: Path) -> Path:
    """Clear up behind writers of a folder that were killed, and bring back what they had moved.

    Returns:
        The path itself.
    """
    replaced = _replaced(path)
    if replaced.is_dir():
        if path.exists():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            replaced.rename(path)
    for partial in path.parent.glob(f"{PARTIAL}{glob.escape(path.name)}-*"):
        if partial.is_dir() and _is_abandoned(partial):
            shutil.rmtree(partial, ignore_errors=True)
    return path


def _is_abandoned(partial: Path) -> bool:
    try:
        handle = os.open(partial, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def _put_in_place(new: Path, path: Path) -> None:
    """Give the new folder its name; afterwards the old one, if any, has the other or is gone."""
    if not path.exists():
        new.rename(path)
    elif not _exchange(new, path):
        replaced = _replaced(path)
        path.rename(replaced)
        new.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        names = (os.fsencode(one), os.fsencode(other))
        done = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
        return bool(done == 0)
    return False


def _replaced(path: Path) -> Path:
    return path.parent / f"{_REPLACED}{path.name}"


def _sync(folder: Path) -> None:
    """Make a folder and all in it last through a power cut."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)
