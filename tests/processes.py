"""Commands in fresh processes, cheaply: a fork of a server that has imported everything already.

A process started so shares no state with others, can be killed, and ends with its own exit code.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import torch

LIMIT = 300.0
"""Seconds after which a process counts as hanging."""

LEFT_BEHIND = 20.0
"""Seconds in which a process' own ones have to end after it; a loader's worker looks every five."""


def context() -> ForkServerContext:
    """The context of the one server."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["tests.processes", "lit_mtl.commands.train"])
    return made


def _command(words: Sequence[str], folder: str, output: str) -> None:
    """In the new process: become `python -m lit_mtl` in a folder."""
    os.setsid()  # a group of its own, as a shell gives it, and a session by which it is found
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # as in a process started by a user
    os.chdir(folder)
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    from lit_mtl.cli import main

    sys.exit(main(list(words)))


def start(words: Sequence[str | Path], *, folder: Path, output: Path) -> ForkServerProcess:
    """Start a command.

    Args:
        words: what stands behind `python -m lit_mtl`.
        folder: working directory.
        output: file to which standard output and error are appended.
    """
    arguments = ([str(word) for word in words], str(folder), str(output))
    process = context().Process(target=_command, args=arguments)
    process.start()
    return process


def ended(process: ForkServerProcess, *, limit: float = LIMIT) -> int:
    """Wait for the end and return what a shell would show: 128 + n for one killed by signal n.

    Nothing that the process has started may outlive it for long.
    """
    process.join(limit)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"hangs: not ended after {limit:.0f} seconds")
    code = process.exitcode
    assert code is not None
    assert process.pid is not None
    deadline = time.monotonic() + LEFT_BEHIND
    while left := _session(process.pid):
        if time.monotonic() > deadline:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"left behind: {left}")
        time.sleep(0.05)
    return code if code >= 0 else 128 - code


def _session(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal():
                # behind the name, which may hold anything: state, parent, group, session
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader and fields[0] not in "ZX":
                    found.append(int(entry.name))
    return found


def finished(words: Sequence[str | Path], *, folder: Path, output: Path) -> int:
    """Run a command to its end."""
    return ended(start(words, folder=folder, output=output))


def wait_for(path: Path, *, limit: float = LIMIT) -> None:
    """Wait until a file is there."""
    deadline = time.monotonic() + limit
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)


def send(process: ForkServerProcess, signum: signal.Signals) -> None:
    """Signal a process."""
    assert process.pid is not None
    os.kill(process.pid, signum)
