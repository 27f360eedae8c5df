"""What classification and multi-label tasks share."""

import pytest

from lit_mtl.errors import ConfigError
from lit_mtl.tasks import Classification, Multilabel

WEIGHTS: list[tuple[dict[str, float], str]] = [
    ({"a": 1.0}, "each of the labels a, b, but got a"),
    ({"a": 1.0, "b": 1.0, "c": 1.0}, "a, b, c"),
    ({"a": 1.0, "b": 0.0}, r"above 0, but got \{'b': 0.0\}"),
    ({"a": 1.0, "b": float("nan")}, "above 0"),
    ({"a": 1.0, "b": float("inf")}, "above 0"),
]


@pytest.mark.parametrize(("weights", "message"), WEIGHTS)
def test_weights_are_positive_and_one_a_label(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Classification(labels=("a", "b"), class_weights=weights)
    with pytest.raises(ConfigError, match=message):
        Multilabel(labels=("a", "b"), pos_weight=weights)
    if "above" not in message:
        with pytest.raises(ConfigError, match=message):
            Classification(class_weights=weights).resolve(["a", "b"])


def test_a_multilabel_task_may_have_one_label_and_a_classification_two() -> None:
    assert Multilabel(labels=("a",)).output_dim == 1
    for labels, least in (((), "one or more"), (("a", "a"), "one or more")):
        with pytest.raises(ConfigError, match=least):
            Multilabel(labels=labels)
    with pytest.raises(ConfigError, match="two or more"):
        Classification(labels=("a",))


def test_labels_are_open_until_they_are_found() -> None:
    for task in (Classification(), Multilabel()):
        assert task.is_open
        found = task.resolve(["b", "a"])
        assert (found.names, found.is_open) == (("a", "b"), False)


@pytest.mark.parametrize("kind", [Classification, Multilabel])
@pytest.mark.parametrize("declared", [("cafe\u0301", "thé"), ("café", "thé"), None])
def test_accents_may_be_written_apart(
    kind: type[Classification | Multilabel], declared: tuple[str, ...] | None
) -> None:
    task = kind(labels=declared).resolve(["café", "cafe\u0301", "the\u0301"])
    assert task.names == ("café", "thé")
    assert task.encode("cafe\u0301") == task.encode("café")
