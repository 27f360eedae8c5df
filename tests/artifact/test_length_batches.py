from hypothesis import given
from hypothesis import strategies as st

from lit_mtl.artifact.length_batches import length_batches


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 200))
def test_every_row_comes_once_within_the_budget(lengths: list[int], tokens: int) -> None:
    ids = [list(range(1, length + 1)) for length in lengths]
    seen: list[int] = []
    for rows, input_ids, mask in length_batches(ids, tokens=tokens):
        assert input_ids.numel() <= max(tokens, input_ids.shape[1])
        for row, found, real in zip(rows.tolist(), input_ids, mask.bool(), strict=True):
            assert found[real].tolist() == ids[row]
            assert not found[~real].any()
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(lengths)))


def test_rows_of_like_length_meet() -> None:
    ids = [[1] * length for length in (3, 30, 3, 30, 3, 30)]
    shapes = [tuple(batch.shape) for _, batch, _ in length_batches(ids, tokens=90)]
    assert shapes == [(3, 30), (3, 3)]
