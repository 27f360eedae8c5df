"""How much a command says: `--quiet` and `--verbose`, alike for every command.

The choice lies in the environment, so that the processes which DDP starts make the same one.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum

from lit_mtl.errors import ConfigError

VARIABLE = "LIT_MTL_CONSOLE"


class Verbosity(StrEnum):
    """What is printed."""

    QUIET = "quiet"
    """The result, or where it lies; warnings and errors."""

    NORMAL = "normal"
    """Also what is trained, on what, and how it goes."""

    VERBOSE = "verbose"
    """Also what the libraries say, every metric of each validation, and where an error comes from."""


_FLAGS = {f"--{each}": each for each in (Verbosity.QUIET, Verbosity.VERBOSE)}


def verbosity() -> Verbosity:
    """The choice for this process and those that it starts.

    Raises:
        ConfigError: if the environment names none that there is.
    """
    found = os.environ.get(VARIABLE, Verbosity.NORMAL)
    if found not in list(Verbosity):
        raise ConfigError(f"{VARIABLE}: expected one of {', '.join(Verbosity)}; found {found!r}")
    return Verbosity(found)


@contextmanager
def chosen(words: Sequence[str]) -> Iterator[list[str]]:
    """Take the flags out of a command's words and keep the choice within the block.

    Args:
        words: what stands behind the command. What follows `--` are sentences.

    Raises:
        ConfigError: if both flags are given.
    """
    end = words.index("--") if "--" in words else len(words)
    given = {_FLAGS[word] for word in words[:end] if word in _FLAGS}
    if len(given) > 1:
        raise ConfigError(f"Expected one of {' and '.join(_FLAGS)}, but got both")
    before = os.environ.get(VARIABLE)
    try:
        os.environ[VARIABLE] = given.pop() if given else verbosity()
        yield [word for place, word in enumerate(words) if place >= end or word not in _FLAGS]
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before
