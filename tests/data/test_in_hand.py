"""Rows in hand, in real worker processes of a DataLoader."""

from functools import partial

import pytest
from torch.utils.data import DataLoader

from lit_mtl.data.in_hand import Row, RowsInHand


def collate(in_hand: RowsInHand, rows: list[Row], *, broken: Row | None = None) -> int:
    with in_hand.noted([file for file, _ in rows], [number for _, number in rows]):
        if broken in rows:
            raise ValueError("broken")
        return len(rows)


ROWS = [(number % 2, number) for number in range(20)]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_rows_of_a_batch_that_was_not_finished_are_left(workers: int) -> None:
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
        with pytest.raises(ValueError, match="broken"):
            list(loader)
        left = set(in_hand.left())  # others may have been at work at that time
        assert left >= set(ROWS[8:12]) if workers else not left
