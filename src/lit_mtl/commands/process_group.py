"""The end of a command that has run in several processes."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed import destroy_process_group, is_available, is_initialized

from lit_mtl.errors import DivergedError, StorageError
from lit_mtl.signals import Stopped


@contextmanager
def closing_process_group() -> Iterator[None]:
    """Close the group of processes that the block has opened, where the processes end it alike.

    A thread of gloo may hold the tensors of the last collective call for longer than the call
    lasts. If Python has gone meanwhile, letting go of them aborts the process
    (github.com/pytorch/pytorch/pull/179291): exit code 134 after all is done. Lightning closes
    groups of NCCL alone.

    After an error of one process the group stays: closing waits for calls under way, and the others
    may never answer.
    """
    try:
        yield
    except (DivergedError, StorageError):
        _close()
        raise
    except Stopped as stopped:
        if stopped.note:  # agreed upon between steps
            _close()
        raise
    _close()


def _close() -> None:
    if is_available() and is_initialized():
        destroy_process_group()
