import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_mtl.errors import ConfigError
from lit_mtl.tasks import Ordinal, RatingDistribution, Task
from lit_mtl.tasks.cells import join_cell, read_number, read_whole, split_cell


@pytest.mark.parametrize(
    ("cell", "values"),
    [
        ("a", ["a"]),
        ("a| b c |d", ["a", "b c", "d"]),
        ('["a|b", " c "]', ["a|b", "c"]),
        ("[4, 5.50, 1e2]", ["4", "5.50", "1e2"]),
        ("[]", []),
    ],
)
def test_a_cell_holds_values(cell: str, values: list[str]) -> None:
    assert split_cell(cell) == values


@pytest.mark.parametrize(
    "cell", ["a||b", "|", "[", "[1,]", '["a", ""]', "[[1]]", "[null]", "[true]"]
)
def test_what_is_no_list_of_values_is_refused_as_it_stands(cell: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        split_cell(cell)
    assert repr(cell) in str(caught.value)


@given(st.lists(st.text(min_size=1).map(str.strip).filter(bool)))
def test_what_is_joined_is_split_again(values: list[str]) -> None:
    assert split_cell(join_cell(values)) == values


def test_only_plain_numbers_are_numbers() -> None:
    assert read_number("-.5e1") == -5.0
    for text in ("1_0", "nan", "٣", "1,5", "0x1"):
        with pytest.raises(ValueError, match="expected a number"):
            read_number(text)


def test_a_whole_number_may_be_written_with_zeros_behind_the_point() -> None:
    assert [read_whole(text, otherwise="regression") for text in ("3", "-3.0", "1e2")] == [
        3,
        -3,
        100,
    ]
    with pytest.raises(ValueError, match=r"a whole level; found 2\.5.*of the kind regression"):
        read_whole("2.5", otherwise="regression")


@pytest.mark.parametrize("text", ["1e999", "-4e38"])
def test_numbers_that_targets_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a number from -3\.4e\+38 to 3\.4e\+38; found"):
        read_number(text)


@pytest.mark.parametrize("high", ["102", "3000000000", "1e30"])
@pytest.mark.parametrize("task", [Ordinal(), RatingDistribution()], ids=lambda task: task.kind)
def test_more_levels_than_a_head_has_outputs_for_are_refused(task: Task, high: str) -> None:
    assert not task.resolve(["2", "102"]).is_open
    with pytest.raises(ConfigError, match="at most 101 levels, but got"):
        task.resolve(["1", high])
