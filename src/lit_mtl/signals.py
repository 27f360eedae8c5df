"""Clean ends on SIGTERM and SIGINT: at once where nothing is at stake, else at the next safe point.

While a training step runs, a signal is only noted, and who trains saves and stops at the end of
the step. Lightning's own handler broadcasts from within the signal, which hangs under DDP when one
process alone is signalled, and lets the program end with exit code 0.

Terminals and schedulers signal a whole process group. A loader's workers leave that group, since a
batch that dies with its worker would end the run before the step does.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HANDLED = (signal.SIGTERM, signal.SIGINT)

FIRST_PROCESS = "LIT_MTL_FIRST_PROCESS"
"""Environment variable by which the processes that DDP launches know the first one."""


class Stopped(BaseException):
    """The run ends because of a signal.

    Not an `Exception`, like `KeyboardInterrupt`: nothing that handles errors should swallow it.

    Args:
        signum: the signal.
        note: what was saved, for the user.
    """

    def __init__(self, signum: int, note: str = "") -> None:
        name = signal.Signals(signum).name
        super().__init__(f"stopped by {name}. {note}" if note else f"stopped by {name}")
        self.signum = signum
        self.note = note

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that the signal has ended: 143 or 130."""
        return 128 + self.signum


class StopRequests:
    """The signals that this process has received; there is one such object, `STOP_REQUESTS`."""

    def __init__(self) -> None:
        self.active = False  # whether signals are handled here at all
        self.noted = 0  # the first signal that waits for a safe point
        self._deferring = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals here within the block, and as before after it; in the main thread."""
        before = {signum: signal.signal(signum, self._receive) for signum in HANDLED}
        self.active, self.noted, self._deferring = True, 0, False
        try:
            yield
        finally:
            self.active = self._deferring = False
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def defer(self) -> None:
        """Only note signals from now on: a step must not be torn."""
        self._deferring = True

    def resume(self) -> None:
        """Raise at once again, beginning with a signal that was noted meanwhile.

        Raises:
            Stopped: if there was one.
        """
        self._deferring = False
        if self.noted:
            raise Stopped(self.noted)

    def leave_group(self) -> None:
        """In a process that was forked within the block: let only its parent be signalled."""
        if self.active:
            os.setpgid(0, 0)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        impatient = self.noted and signum == signal.SIGINT
        self.noted = self.noted or signum
        if impatient or not self._deferring:
            self._deferring = False
            raise Stopped(signum)


STOP_REQUESTS = StopRequests()
os.register_at_fork(after_in_child=STOP_REQUESTS.leave_group)
