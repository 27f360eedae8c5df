from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_mtl.data.scanning import Parts, Row

ROWS = st.lists(
    st.builds(
        Row,
        text=st.text(),
        key=st.text(st.characters(), max_size=2),
        position=st.floats(0, 1, exclude_max=True),
        split=st.sampled_from([None, "train", "val", "test"]),
        file=st.integers(0, 9),
        number=st.integers(1, 2**40),
        source=st.integers(0, 9),
        targets=st.lists(
            st.tuples(st.integers(0, 3), st.one_of(st.floats(-9, 9), st.tuples(st.floats(0, 1))))
        ).map(tuple),
    ),
    max_size=40,
    unique_by=lambda row: row.number,
)


@pytest.mark.parametrize("number", [1, 3])
@given(rows=ROWS)
def test_what_was_dealt_comes_back_by_key_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, number: int, rows: list[Row]
) -> None:
    parts = Parts(tmp_path_factory.mktemp("parts"), number)
    for row in rows:
        parts.add(row, row.key)
    for _ in range(2):
        dealt = [list(part) for part in parts.read()]
        assert len(dealt) == number
        assert sorted(chain.from_iterable(dealt), key=rows.index) == rows
        keys = [{row.key for row in part} for part in dealt]
        assert sum(map(len, keys)) == len(set().union(*keys))
        for part in dealt:
            places = [rows.index(row) for row in part]
            assert places == sorted(places)


def test_a_part_does_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    parts = Parts(tmp_path, 4)
    for key in "abcdefgh":
        parts.add(Row(key, key, 0.0, False, None, 0, 1, 0, ()), key)
    assert ["".join(row.key for row in part) for part in parts.read()] == ["gh", "b", "", "acdef"]
