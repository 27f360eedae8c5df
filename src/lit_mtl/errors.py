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
