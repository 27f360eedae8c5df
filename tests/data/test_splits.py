from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lit_mtl.data.splits import (
    SPLITS,
    Split,
    Splitter,
    Stratum,
    position_of,
    split_of_name,
    text_key,
)
from lit_mtl.errors import ConfigError


def test_shares_are_those_asked_for() -> None:
    splitter = Splitter(val_fraction=0.1, test_fraction=0.2)
    found = [splitter.split(position_of(f"row {n}")) for n in range(20_000)]
    shares = {split: found.count(split) / len(found) for split in SPLITS}
    assert shares == pytest.approx({"train": 0.7, "val": 0.1, "test": 0.2}, abs=0.01)


def test_a_position_is_a_function_of_the_key_alone() -> None:
    """Positions that were published with the first runs must never change."""
    assert position_of("a fine film.") == 0.3767022900692228
    assert position_of("") != position_of("a fine film.")
    assert 0 <= position_of("\ud800") < 1


@given(st.text(max_size=30))
def test_white_space_and_form_do_not_make_another_sentence(text: str) -> None:
    assert text_key(f"  {text} \n") == text_key(text)
    assert text_key(text_key(text)) == text_key(text)
    assert text_key("a  b") == "a b" != text_key("A b")
    assert position_of(text_key("caf\u00e9")) == position_of(text_key("cafe\u0301"))


@given(
    positions=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=50),
    folds=st.integers(2, 7),
)
def test_folds_partition_any_positions(positions: list[float], folds: int) -> None:
    for position in positions:
        splits = [
            Splitter(val_fraction=0.1, test_fraction=0.5, folds=folds, fold=fold).split(position)
            for fold in range(folds)
        ]
        assert splits.count("test") == 1


def test_a_stratum_gives_each_split_its_share_of_it() -> None:
    strata: dict[Stratum, NDArray[np.float64]] = {
        0.0: np.sort(np.random.default_rng(0).random(20)),
        1.0: np.array([0.97, 0.98, 0.99]),
    }
    splitter = Splitter(val_fraction=0.25, test_fraction=0.25, strata=strata)
    found = [splitter.split(position, 0.0) for position in strata[0.0]]
    assert found == ["test"] * 5 + ["val"] * 5 + ["train"] * 10
    assert [splitter.split(position, 1.0) for position in strata[1.0]] == ["test", "val", "train"]


@given(
    sizes=st.lists(st.sampled_from([1, 1, 1, 2, 3, 7, 40]), min_size=150, max_size=200),
    kind=st.sampled_from([float, lambda n: (float(n % 2), float(n))]),
    folds=st.sampled_from([None, 2, 5]),
)
def test_strata_however_small_give_each_split_its_share(
    sizes: list[int], kind: Callable[[int], Stratum], folds: int | None
) -> None:
    """Also where each sentence is a stratum of its own, such as one with a score that no other has."""
    strata: dict[Stratum, NDArray[np.float64]] = {
        kind(n): (np.arange(size) + 0.5) / size for n, size in enumerate(sizes)
    }
    strata[None] = np.array([0.5])
    rows = sum(sizes) + 1
    for fold in range(folds or 1):
        splitter = Splitter(
            val_fraction=0.1, test_fraction=0.2, folds=folds, fold=fold, strata=strata
        )
        shares: dict[Split, float] = {"test": 1 / folds if folds else 0.2, "val": 0.1}
        found = {key: [splitter.split(p, key) for p in known] for key, known in strata.items()}
        for split, share in shares.items():
            counts = {key: splits.count(split) for key, splits in found.items()}
            assert all(abs(n - share * len(strata[key])) <= 1 for key, n in counts.items())
            assert abs(sum(counts.values()) - share * rows) < 0.05 * rows


@pytest.mark.parametrize(
    ("val", "test"), [(0.5, 0.6), (-0.1, 0.1), (float("nan"), 0.1), (0.1, float("nan"))]
)
def test_fractions_are_shares_of_a_whole(val: float, test: float) -> None:
    with pytest.raises(ConfigError, match="val_fraction"):
        Splitter(val_fraction=val, test_fraction=test)


@pytest.mark.parametrize(("folds", "fold"), [(1, 0), (3, 3), (3, -1)])
def test_a_fold_that_is_not_there_is_refused(folds: int, fold: int) -> None:
    with pytest.raises(ConfigError, match=rf"folds={folds} and fold={fold}"):
        Splitter(val_fraction=0.1, test_fraction=0.1, folds=folds, fold=fold)


def test_usual_names_of_splits_are_understood() -> None:
    names = ["Train", "dev", " validation", "VAL", "test", "holdout", ""]
    assert [split_of_name(name) for name in names] == [
        "train",
        "val",
        "val",
        "val",
        "test",
        None,
        None,
    ]
