"""Runs the commands. It imports nothing heavy, so that `--help` answers at once."""

import errno
import os
import select
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module

from lit_mtl import __version__
from lit_mtl.command_table import COMMANDS, HELP_FLAGS
from lit_mtl.commands.help import help_asked_for, overview
from lit_mtl.errors import DivergedError, LitMTLError, StorageError, printable
from lit_mtl.signals import FIRST_PROCESS, STOP_REQUESTS, Stopped
from lit_mtl.verbosity import Verbosity, chosen, verbosity

_DISK_TROUBLE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EIO,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: the arguments behind `python -m lit_mtl`. None: those of this process.

    Returns:
        The exit code: 0 done, 2 wrong usage or config, 65 bad data, 66 missing input, 70 training
        diverged, 74 a disk is full or a file damaged, 130 and 143 stopped by SIGINT and SIGTERM.
    """
    words = list(sys.argv[1:] if args is None else args)
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    if (text := _answer_at_once(words)) is not None:
        _show(text)
        return 0
    if words[0] not in COMMANDS:
        valid = ", ".join(COMMANDS)
        print(f"lit_mtl: expected a command out of {valid}; found {words[0]!r}", file=sys.stderr)
        return 2
    launched = FIRST_PROCESS in os.environ
    os.environ.setdefault(FIRST_PROCESS, str(os.getpid()))
    try:
        with chosen(words[1:]) as rest, STOP_REQUESTS.handled(), _traced():
            _run(words[0], rest)
    except (Stopped, LitMTLError) as error:
        if launched and isinstance(error, Stopped | DivergedError | StorageError):
            # the process that launched this one ends by itself for the same reason; Lightning's
            # launcher would kill it if its child reported a failure before
            if isinstance(error, Stopped) and not error.note:
                _pass_on(error.signum)  # except where this process alone was told, and at once
            return 0
        print(printable(f"lit_mtl {words[0]}: {error}"), file=sys.stderr)
        return error.exit_code
    finally:
        if not launched:
            del os.environ[FIRST_PROCESS]
    return 0


@contextmanager
def _traced() -> Iterator[None]:
    """Show where an expected failure comes from, to who has asked for all."""
    try:
        yield
    except LitMTLError:
        if verbosity() is Verbosity.VERBOSE:
            traceback.print_exc()
        raise


def _answer_at_once(words: Sequence[str]) -> str | None:
    """Help or version, if they are asked for."""
    if not words or words[0] in HELP_FLAGS:
        return overview()
    if words[0] == "--version":
        return __version__
    return help_asked_for(words[0], words[1:]) if words[0] in COMMANDS else None


def _show(text: str) -> None:
    """Print a text, of which a pager or `head` may not want all."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _has_reader()


def _has_reader() -> bool:
    """Whether standard output is read; else what is left for it is dropped."""
    output = select.poll()
    output.register(sys.stdout, 0)
    if not output.poll(0):
        return True
    # else Python would complain when it closes standard output
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return False


def _pass_on(signum: int) -> None:
    """Signal the first process, which would otherwise wait for this one and find it gone."""
    with suppress(ProcessLookupError):
        os.kill(int(os.environ[FIRST_PROCESS]), signum)


def _run(command: str, args: Sequence[str]) -> None:
    run: Callable[[str, Sequence[str]], None] = import_module(COMMANDS[command].runner).run
    try:
        run(command, args)
    except LitMTLError:
        raise
    except Exception as error:
        if STOP_REQUESTS.noted:  # workers and other processes may have been stopped before
            raise Stopped(
                STOP_REQUESTS.noted, f"Not saved at this step ({error!r:.200})"
            ) from error
        if isinstance(error, OSError) and error.errno in _DISK_TROUBLE:
            raise StorageError(str(error)) from error
        if not isinstance(error, BrokenPipeError) or _has_reader():
            raise
