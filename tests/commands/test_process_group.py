"""Who ends in agreement with the other processes leaves the group; who fails alone keeps it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import distributed

from lit_mtl.commands.process_group import closing_process_group
from lit_mtl.errors import ConfigError, DivergedError, StorageError
from lit_mtl.signals import Stopped


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of one process over gloo."""
    distributed.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_the_group_is_closed_at_the_end() -> None:
    with closing_process_group():
        assert distributed.is_initialized()
    assert not distributed.is_initialized()


def test_without_a_group_nothing_happens() -> None:
    with closing_process_group():
        pass


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (DivergedError("at the same step on all"), False),
        (StorageError("told to all"), False),
        (Stopped(15, "saved at the end of the step"), False),
        (Stopped(15), True),
        (ConfigError("found by one"), True),
        (RuntimeError("of one"), True),
    ],
    ids=repr,
)
def test_it_is_closed_upon_an_end_that_all_share(error: BaseException, stays: bool) -> None:
    with pytest.raises(type(error)), closing_process_group():
        raise error
    assert distributed.is_initialized() is stays
