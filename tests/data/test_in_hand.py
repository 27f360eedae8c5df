"""Rows in hand, in real worker processes of a DataLoader."""

import os
import signal
from functools import partial

import pytest
from torch.utils.data import DataLoader

from lit_mtl.data.in_hand import Row, RowsInHand


def collate(in_hand: RowsInHand, rows: list[Row], *, broken: Row | None = None) -> int:
    with in_hand.noted([file for file, _ in rows], [number for _, number in rows]):
        if broken in rows:
            os.kill(os.getpid(), signal.SIGKILL)
        return len(rows)


ROWS = [(number % 2, number) for number in range(20)]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_rows_of_a_worker_that_died_are_left(workers: int) -> None:
    for broken in (None, (1, 9)):
        in_hand = RowsInHand(workers, 4)
        loader: DataLoader[int] = DataLoader(
            ROWS,  # type: ignore[arg-type]
            batch_size=4,
            num_workers=workers,
            collate_fn=partial(collate, in_hand, broken=broken),
        )
        if broken is None:
            assert list(loader) == [4] * 5
            assert in_hand.left() == []
            continue
        with pytest.raises(RuntimeError, match="DataLoader worker"):
            list(loader)
        # the other one may have been at work at that time
        assert set(in_hand.left()) >= set(ROWS[8:12])


def test_without_workers_nothing_is_noted() -> None:
    in_hand = RowsInHand(0, 4)
    with in_hand.noted([0], [1]):
        assert in_hand.left() == []
