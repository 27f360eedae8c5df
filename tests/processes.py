"""Commands in fresh processes, cheaply: a fork of a server that has imported everything already.

A process started so shares no state with others, can be killed, and ends with its own exit code.
"""

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
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


def _own_process(folder: str, output: str, errors: str) -> None:
    """In the new process: what sets one apart that a user starts from a shell in a folder."""
    os.setsid()  # a group of its own, as a shell gives it, and a session by which it is found
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)
    os.chdir(folder)
    for number, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)


def _command(words: Sequence[str], folder: str, output: str) -> None:
    """Become `python -m lit_mtl`."""
    _own_process(folder, output, output)
    from lit_mtl.cli import main

    sys.exit(main(list(words)))


def _script(words: Sequence[str], folder: str, output: str, errors: str) -> None:
    """Become `python SCRIPT`."""
    _own_process(folder, output, errors)
    sys.argv = list(words)
    sys.path.insert(0, str(Path(words[0]).parent))
    runpy.run_path(words[0], run_name="__main__")


def start(words: Sequence[str | Path], *, folder: Path, output: Path) -> ForkServerProcess:
    """Start a command.

    Args:
        words: what stands behind `python -m lit_mtl`.
        folder: working directory.
        output: file to which standard output and error are appended.
    """
    return _started(_command, [str(word) for word in words], str(folder), str(output))


def printed(script: Path, *options: str) -> str:
    """Run a Python script to its end, which has to be a good one, and return what it printed."""
    words = [str(script), *options]
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        code = ended(_started(_script, words, str(Path.cwd()), str(output), str(errors)))
        assert code == 0, errors.read_text()
        return output.read_text()


def _started(become: Callable[..., None], *arguments: object) -> ForkServerProcess:
    process = context().Process(target=become, args=arguments)
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
