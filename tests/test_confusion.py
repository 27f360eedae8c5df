import numpy as np
import pytest

from lit_mtl.confusion import left_out, most_confused


def test_the_classes_with_most_errors_are_chosen_in_their_own_order() -> None:
    counts = np.diag([100, 1, 1, 1, 1, 1])
    counts[4, 2] = 3  # one error is one of both classes
    counts[5, 4] = 1
    assert most_confused(counts.tolist(), most=2) == [2, 4]
    assert most_confused(counts.tolist(), most=3) == [2, 4, 5]
    assert most_confused(counts.tolist(), most=4) == [0, 2, 4, 5], "of equal ones the first"


@pytest.mark.parametrize("classes", [1, 3])
def test_of_few_classes_all_are_shown(classes: int) -> None:
    counts = np.eye(classes, dtype=int).tolist()
    assert most_confused(counts, most=3) == list(range(classes))


def test_what_is_left_out_is_said_and_nothing_else() -> None:
    assert left_out(3, 3) == ""
    assert left_out(3, 5) == "the 3 most confused of 5 classes"
