"""What is stored is what was computed, row for row, however many processes share the work."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lit_mtl.data.prefix_store import (
    PrefixStorage,
    PrefixStore,
    batches_by_length,
    remove,
    sum_of_ids,
)
from lit_mtl.errors import StorageError

LENGTHS = [3, 9, 1, 4, 4, 7, 2]
ROWS = [[100 * row + token for token in range(length)] for row, length in enumerate(LENGTHS)]


def dataset(rows: list[list[int]] = ROWS) -> Dataset:
    return Dataset.from_dict({"input_ids": rows, "text": ["x"] * len(rows)})


def hidden(ids: Tensor, mask: Tensor) -> Tensor:
    """A vector of two numbers for each token; what stands at the padding is not to be kept."""
    states = torch.stack([ids, -ids], dim=-1).to(torch.float64)
    return states.masked_fill(~mask.bool().unsqueeze(-1), float("nan"))


def pooled(ids: Tensor, mask: Tensor) -> Tensor:
    return hidden(ids, mask).nan_to_num(0).sum(dim=1).to(torch.bfloat16)


def stored(
    cache: Path, *, shares: int = 1, **changes: Any
) -> tuple[PrefixStorage, list[Path], PrefixStore]:
    options: dict[str, Any] = {"dataset": dataset(), "layers": 2, "pooled": False, **changes}
    storage = PrefixStorage(**options, shares=shares)
    folders = storage.folders(cache, {"weights": "one"})
    for share, folder in enumerate(folders):
        storage.fill(folder, pooled if storage.pooled else hidden, share=share)
    return storage, folders, storage.open(folders)


@given(
    lengths=st.lists(st.integers(1, 40), max_size=60),
    tokens=st.integers(1, 100),
)
def test_batches_hold_every_row_once_and_no_more_tokens_than_allowed(
    lengths: list[int], tokens: int
) -> None:
    known = np.array(lengths, np.int32)
    batches = list(batches_by_length(known, tokens=tokens))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * known[batch].max() <= tokens
    longest = [known[batch].max() for batch in batches]
    assert longest == sorted(longest, reverse=True)


@pytest.mark.parametrize("shares", [1, 2, 9])
def test_hidden_states_come_back_row_by_row_padded_on_the_right(
    shares: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_mtl.data.prefix_store._BATCH_TOKENS", 8)
    storage, folders, store = stored(tmp_path, shares=shares)
    assert storage.vectors == sum(LENGTHS)
    found = store.rows(torch.tensor([5, 2, 3]))
    assert found.dtype == torch.float64
    expected = torch.zeros(3, 7, 2, dtype=torch.float64)
    for number, row in enumerate([5, 2, 3]):
        states = torch.tensor([[token, -token] for token in ROWS[row]])
        expected[number, : LENGTHS[row]] = states
    assert torch.equal(found, expected)
    assert len(set(folders)) == shares


@pytest.mark.parametrize("shares", [1, 3])
def test_pooled_vectors_come_back_in_the_type_that_they_were_computed_in(
    shares: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_mtl.data.prefix_store._BATCH_TOKENS", 8)
    storage, _, store = stored(tmp_path, shares=shares, pooled=True)
    assert storage.vectors == len(ROWS)
    ids = [6, 0, 1, 5, 4, 3, 2, 0]
    expected = torch.tensor(
        [[sum(ROWS[row]), -sum(ROWS[row])] for row in ids], dtype=torch.bfloat16
    )
    assert torch.equal(store.rows(torch.tensor(ids)), expected)


def test_what_is_there_is_not_computed_again(tmp_path: Path) -> None:
    storage, folders, _ = stored(tmp_path)

    def fails(ids: Tensor, mask: Tensor) -> Tensor:
        raise AssertionError("computed again")

    storage.fill(folders[0], fails)
    remove(folders)
    with pytest.raises(AssertionError, match="computed again"):
        storage.fill(folders[0], fails)
    assert list(tmp_path.iterdir()) == [], "what was not finished is gone"
    with pytest.raises(FileNotFoundError):
        storage.open(folders)


def test_who_has_it_open_keeps_what_is_removed(tmp_path: Path) -> None:
    _, folders, store = stored(tmp_path)
    remove(folders)
    assert store.rows(torch.tensor([2]))[0, 0, 0] == 200


def test_each_part_of_the_key_gives_another_folder(tmp_path: Path) -> None:
    def folders(made_of: dict[str, Any], **changes: Any) -> list[Path]:
        options: dict[str, Any] = {"dataset": dataset(), "layers": 2, "pooled": False, **changes}
        return PrefixStorage(**options).folders(tmp_path, made_of)

    first = folders({"weights": "one"})
    assert folders({"weights": "one"}) == first
    cut = [row[:8] for row in ROWS]
    others = [
        folders({"weights": "two"}),
        folders({"weights": "one"}, layers=1),
        folders({"weights": "one"}, pooled=True),
        folders({"weights": "one"}, shares=2),
        folders({"weights": "one"}, dataset=dataset(cut)),
        folders({"weights": "one"}, dataset=dataset([ROWS[1], ROWS[0], *ROWS[2:]])),
    ]
    every = [*first, *(folder for found in others for folder in found)]
    assert len(set(every)) == len(every)


def test_ids_are_told_apart_by_where_rows_end_and_by_all_chunks() -> None:
    one, other = dataset([[1, 2], [3]]), dataset([[1], [2, 3]])
    assert sum_of_ids(one) != sum_of_ids(other)
    assert sum_of_ids(dataset([[1, 2], [3]])) == sum_of_ids(one)
    assert sum_of_ids(dataset([[1, 2], [4]])) != sum_of_ids(one)


@pytest.mark.parametrize("name", ["vectors", "facts.json"])
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    storage, folders, _ = stored(tmp_path)
    path = folders[0] / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match=r"cannot be read .* Remove that folder"):
        storage.open(folders)
