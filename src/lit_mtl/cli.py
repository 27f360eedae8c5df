"""The command table. It imports nothing heavy, so that `--help` answers at once."""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module

from lit_mtl.errors import DivergedError, LitMTLError, StorageError, printable
from lit_mtl.signals import STOP_REQUESTS, Stopped


@dataclass(frozen=True)
class Command:
    """One subcommand.

    Args:
        summary: its line in `--help`.
        runner: module that holds its function `run(name, args)`.
    """

    summary: str
    runner: str


_FIRST_PROCESS = "LIT_MTL_FIRST_PROCESS"
"""Environment variable that the processes inherit which this one launches for DDP."""

_DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)

_TRAINER = "lit_mtl.commands.train"
COMMANDS = {
    "init": Command("look at files and write a config to begin with", "lit_mtl.commands.init"),
    "fit": Command("train on a config, then validate and test the best checkpoint", _TRAINER),
    "validate": Command("measure a checkpoint on the validation split", _TRAINER),
    "test": Command("measure a checkpoint on the test split", _TRAINER),
    "predict": Command("write each task's prediction for sentences", "lit_mtl.commands.infer"),
    "check-data": Command("report on the data before any training, as text or --json", _TRAINER),
    "groups": Command("show data and parameter groups without training", _TRAINER),
    "plan": Command("show a freezing plan: stages, rates, cost; or --generate gradual", _TRAINER),
    "export": Command(
        "write a checkpoint as a folder for sentence-transformers and ONNX",
        "lit_mtl.commands.export",
    ),
    "embed": Command("show or save the embeddings of sentences", "lit_mtl.commands.infer"),
}

_HELP = """usage: python -m lit_mtl COMMAND [options]

One shared sentence encoder with several heads, from a few files of sentences.

commands:
{commands}

examples:
  python -m lit_mtl fit --config configs/quickstart.yaml
  python -m lit_mtl fit --config configs/bert_base.yaml --data.path my_folder --trainer.max_epochs 2
  python -m lit_mtl embed --ckpt_path best.ckpt "A fine film." "A dull one."

`python -m lit_mtl COMMAND --help` lists a command's options.
"""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: the arguments behind `python -m lit_mtl`. None: those of this process.

    Returns:
        The exit code: 0 done, 2 wrong usage or config, 65 bad data, 66 missing input, 70 training
        diverged, 74 a disk is full or a file damaged, 130 and 143 stopped by SIGINT and SIGTERM.
    """
    words = list(sys.argv[1:] if args is None else args)
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if words[0] == "--version":
        print(import_module("lit_mtl").__version__)
        return 0
    if words[0] not in COMMANDS:
        valid = ", ".join(COMMANDS)
        print(f"lit_mtl: expected a command out of {valid}; found {words[0]!r}", file=sys.stderr)
        return 2
    launched = _FIRST_PROCESS in os.environ
    os.environ.setdefault(_FIRST_PROCESS, str(os.getpid()))
    try:
        with STOP_REQUESTS.handled():
            _run(words[0], words[1:])
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
            del os.environ[_FIRST_PROCESS]
    return 0


def _pass_on(signum: int) -> None:
    """Signal the first process, which would otherwise wait for this one and find it gone."""
    with suppress(ProcessLookupError):
        os.kill(int(os.environ[_FIRST_PROCESS]), signum)


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
        raise


def help_text() -> str:
    """The overview that `--help` prints."""
    lines = [f"  {name:<10} {command.summary}" for name, command in COMMANDS.items()]
    return _HELP.format(commands="\n".join(lines)).rstrip()
