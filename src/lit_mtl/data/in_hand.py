"""The rows that worker processes are making batches of, known to their parent even if they die."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.utils.data import get_worker_info

Row = tuple[int, int]
"""Number of a file, and of a record in it."""


class RowsInHand:
    """Rows in memory that the worker processes of one loader share with their parent.

    Args:
        workers: number of worker processes.
        batch_size: rows of a batch at most.
    """

    def __init__(self, workers: int, batch_size: int) -> None:
        self._rows = torch.full((workers, batch_size, 2), -1).share_memory_()

    @contextmanager
    def noted(self, files: Sequence[int], numbers: Sequence[int]) -> Iterator[None]:
        """Note the rows of a batch while it is made; in the parent itself, nothing."""
        worker = get_worker_info()
        if worker is None:
            yield
            return
        own = self._rows[worker.id]
        own[: len(files)] = torch.tensor([files, numbers]).T
        yield
        own.fill_(-1)

    def left(self) -> list[Row]:
        """The rows of the batches that were begun and not finished."""
        return [(file, number) for file, number in self._rows.flatten(0, 1).tolist() if file >= 0]
