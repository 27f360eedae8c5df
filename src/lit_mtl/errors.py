"""The failures that a user can mend, each with the exit code of its kind (after sysexits.h)."""

from typing import ClassVar


class LitMTLError(Exception):
    """An expected failure: its message is shown to the user without a traceback."""

    exit_code: ClassVar[int] = 1


class ConfigError(LitMTLError, ValueError):
    """A setting that is wrong, contradicts another, or does not fit the checkpoint."""

    exit_code = 2


class DataError(LitMTLError, ValueError):
    """A file whose content is wrong; the message begins with `file:line:` where there is a line."""

    exit_code = 65


class MissingInputError(LitMTLError, FileNotFoundError):
    """A file, folder or model that was named and is not there."""

    exit_code = 66


class DivergedError(LitMTLError, ArithmeticError):
    """A gradient that is not finite: the weights were not updated with it."""

    exit_code = 70


class StorageError(LitMTLError, OSError):
    """A disk that is full, or a file that cannot be read or written as it must be."""

    exit_code = 74


def printable(text: str) -> str:
    """Escape what could steer a terminal: names and contents of files come from elsewhere."""
    return "".join(
        character if character.isprintable() or character == "\n" else repr(character)[1:-1]
        for character in text
    )
