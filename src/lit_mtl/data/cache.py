"""Prepared data on disk, found again by the content of all that they were made of.

The key is a sum over the files' bytes, the settings, the tokenizer and this package's own code, so
a file that changes between two runs is noticed whatever its date says. One that changes while it is
read is refused, so that nothing torn is kept; one that changes afterwards, in the training, changes
nothing in this run.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

import lit_mtl
from lit_mtl.data.readers import refuse_missing
from lit_mtl.errors import DataError, LitMTLError, StorageError

_PARTIAL = ".partial-"

_KEY_DIGITS = 32
_ENTRY = re.compile(rf"[0-9a-f]{{{_KEY_DIGITS}}}")
"""Names of entries: what is called otherwise in the cache's folder is somebody else's."""

_KEPT_DAYS = 30
"""Days without use after which an entry is removed."""

_BLOCK = 2**22


def default_cache() -> Path:
    """`lit_mtl` in the user's folder for caches: `$XDG_CACHE_HOME`, or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lit_mtl"


class FileState(NamedTuple):
    """What a file holds, and by what a later change is seen.

    Args:
        sum: over its bytes.
        stamp: its inode, its size and the time of its last change in nanoseconds, taken before the
            bytes were read; None if it is no file of the user's own.
    """

    sum: str
    stamp: tuple[int, int, int] | None = None


def contents_of(files: Iterable[Path]) -> dict[str, FileState]:
    """The state of each file, by name.

    Raises:
        MissingInputError: for a pipe, a device or a file that may not be read.
    """
    found = {}
    for file in files:
        refuse_missing(file)
        stamp = _stamp_of(file)
        found[str(file)] = FileState(_sum_of(file), stamp)
    return found


def refuse_changed(files: Iterable[Path], known: Mapping[str, FileState]) -> None:
    """Refuse what was read of files that are no longer as they were.

    A file that was written to in between may have been read in part before and in part after, even
    if it now holds the same again; so it is its stamp that counts, and not only its sum.

    Args:
        files: the files that were read.
        known: their states from before, by name.

    Raises:
        DataError: naming the first that has changed.
    """
    for file in files:
        state = known.get(str(file))
        if state is None or state.stamp != _stamp_of(file):
            raise DataError(
                f"{file}: expected a file that stays as it is while it is read; found it changed "
                "meanwhile. Nothing was kept; start again when it is complete"
            )


def entry(
    cache: Path,
    made_of: Mapping[str, Any],
    *,
    rooms: Sequence[str] = ("data", "tasks"),
    packages: Sequence[str] = ("transformers", "tokenizers", "pyarrow"),
) -> Path:
    """The folder of what is prepared from something; it may not be there yet.

    Args:
        cache: folder of all entries.
        made_of: plain values. Versions and this package's code are added.
        rooms: the parts of this package whose code decides about it.
        packages: those whose versions do.
    """
    everything = {
        **made_of,
        "code": {name: _sum_of(file) for name, file in _code(rooms)},
        "versions": [version(name) for name in packages],
    }
    text = json.dumps(everything, sort_keys=True)
    return cache / hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_KEY_DIGITS]


def ensure(folder: Path, build: Callable[[Path], object]) -> None:
    """Build an entry unless it is there; it appears complete or not at all.

    Args:
        folder: see `entry`.
        build: writes into the folder that it is given.

    Raises:
        StorageError: if it cannot be written.
    """
    if folder.is_dir():
        with suppress(OSError):
            os.utime(folder)  # the time of its last use
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_old(folder.parent)
        partial = Path(tempfile.mkdtemp(prefix=_begun_here(str(os.getpid())), dir=folder.parent))
        try:
            build(partial)
            with suppress(FileExistsError):  # another process was faster
                _rename(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if isinstance(error, LitMTLError):
            raise
        raise StorageError(
            f"{folder.parent}: the prepared data could not be written ({error.strerror or error}). "
            "Make room, or name another folder with `data.cache_dir`"
        ) from error


def _rename(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError as error:
        if folder.is_dir():
            raise FileExistsError(folder) from error
        raise


def _begun_here(process: str) -> str:
    """What the name of a folder begins with that a process of this machine fills."""
    return f"{_PARTIAL}{process}-{socket.gethostname()}-"


def _remove_old(cache: Path) -> None:
    """Remove entries that nobody uses, and what killed processes have left; nothing else.

    Other machines may share the folder: what they have begun is only known to be given up by its age.
    """
    oldest = time.time() - _KEPT_DAYS * 86_400
    for path in cache.iterdir():
        with suppress(OSError):
            begun = path.name.startswith(_PARTIAL)
            if not (begun or _ENTRY.fullmatch(path.name)) or not path.is_dir():
                continue
            process = path.name.removeprefix(_PARTIAL).split("-")[0]
            ours = begun and path.name.startswith(_begun_here(process))
            if (ours and not _runs(process)) or path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)


def _runs(process: str) -> bool:
    """Whether a process runs on this machine; yes if that cannot be known."""
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError):
        return True
    return True


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    """See `FileState`; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _sum_of(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _code(rooms: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """The modules that decide what is prepared."""
    package = Path(lit_mtl.__file__).parent
    for room in rooms:
        for path in sorted((package / room).glob("*.py")):
            yield f"{room}/{path.name}", path
    yield "tokenization.py", package / "tokenization.py"
