import pytest
from hypothesis import given
from hypothesis import strategies as st

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
