"""Files that appear complete or not at all, and folders that one process writes."""

import fcntl
import glob
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lit_mtl.errors import ConfigError, LitMTLError, StorageError

PARTIAL = ".partial-"
"""What the names of unfinished files begin with."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file; see `atomic_writer`."""
    with atomic_writer(path) as file:
        file.write(content)


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that gets its name when the block ends; folders on the way are made.

    It is written beside the final name, synced and renamed: a crash or a full disk leaves the old
    file, if there was one, and never half of the new one. (Lightning stages in `$TMPDIR` and
    moves, which on another file system can leave half a file: #21253.)

    Raises:
        StorageError: if it cannot be written.
    """
    partial: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{PARTIAL}{path.name}-{secrets.token_hex(8)}")
        with new.open("xb") as file:  # with the permissions of the user's umask
            partial = new
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except LitMTLError:  # of whoever writes; some of them are OSErrors
        raise
    except OSError as error:
        raise StorageError(f"{path}: could not be written ({error.strerror or error})") from error
    finally:
        if partial is not None:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def remove_partial(folder: Path, name: str = "") -> None:
    """Remove what processes that were killed while writing have left.

    Args:
        folder: where they wrote.
        name: of the file that they wrote. Blank: any.
    """
    for path in folder.glob(f"{PARTIAL}{glob.escape(f'{name}-') if name else ''}*"):
        if path.is_file():
            path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second run out of a folder, which is made. A killed process leaves nothing locked.

    Raises:
        ConfigError: if another process has it.
        StorageError: if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror or error})") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(handle, 20, 0).decode(errors="replace")
            raise ConfigError(
                f"{folder}: another run (process {owner}) is writing here. Wait for its end or "
                "choose another folder"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Raises:
        StorageError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: could not be read ({error.strerror or error})") from error


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
