import torch

from lit_mtl.commands.embed import describe


def test_the_table_shows_norms_and_cosines_by_hand() -> None:
    text = describe(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), ["a", "b"])
    rows = [line.split() for line in text.splitlines()[-2:]]
    assert rows == [["1", "5.000", "1.000", "0.800", "a"], ["2", "2.000", "0.800", "1.000", "b"]]


def test_a_long_list_is_shown_in_part_and_says_so() -> None:
    text = describe(torch.randn(40, 4), [str(number) for number in range(40)])
    assert "... and 28 more" in text


def test_the_cosines_are_of_the_sentences_shown_alone() -> None:
    """Those of all would take a matrix of 40 GB for 100,000."""
    shown = describe(torch.ones(100_000, 1), [str(number) for number in range(100_000)])
    assert shown.endswith("... and 99988 more; save them all with --output")
