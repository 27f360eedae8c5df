import time
from statistics import fmean, pstdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_mtl.tasks import moments
from lit_mtl.tasks.moments import mean_and_deviation

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e100, max_value=1e100)


@given(st.lists(NUMBERS | st.floats(min_value=-9, max_value=9), min_size=1, max_size=40))
def test_they_are_those_of_the_standard_library_to_the_bit(values: list[float]) -> None:
    assert mean_and_deviation(np.array(values)) == (fmean(values), pstdev(values))


def test_they_are_exact_far_from_zero_and_do_not_depend_on_the_order() -> None:
    random = np.random.default_rng(0)
    values = 1e9 + random.normal(size=3000) * 1e-3
    expected = (fmean(values.tolist()), pstdev(values.tolist()))
    assert mean_and_deviation(values) == mean_and_deviation(values[::-1]) == expected


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=1000)
    expected = mean_and_deviation(values)
    for block in (1, 7, 999):
        monkeypatch.setattr(moments, "_BLOCK", block)
        assert mean_and_deviation(values) == expected


def test_a_million_numbers_take_no_seconds() -> None:
    values = np.random.default_rng(0).normal(size=1_000_000)
    begin = time.process_time()
    mean_and_deviation(values)
    assert time.process_time() - begin < 2.0
