"""Opens Hugging Face datasets as tables: those saved in a folder, and those of the hub."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from lit_mtl.data.arrow_tables import ARROW_ROWS, DAMAGED, arrow_only, arrow_records
from lit_mtl.data.readers import files_below
from lit_mtl.data.table import Record, Table
from lit_mtl.errors import DataError, MissingInputError

HUB = "hub:"
"""What the name of a dataset of the Hugging Face hub begins with."""


def is_saved_dataset(path: Path) -> bool:
    """Whether `Dataset.save_to_disk` has written a folder."""
    return (path / "state.json").is_file()


def is_saved_parts(path: Path) -> bool:
    """Whether `DatasetDict.save_to_disk` has written a folder."""
    return (path / "dataset_dict.json").is_file()


def open_saved_dataset(path: Path) -> Table:
    """A saved dataset; class numbers are read as their names."""
    if not is_saved_dataset(path):
        raise DataError(f"{path}: expected a table or a saved dataset; found another folder")
    try:
        dataset = datasets.Dataset.load_from_disk(str(path))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected a whole saved dataset; found {error!r}") from error
    return replace(dataset_table(dataset, path), files=tuple(files_below(path)))


def open_hub_dataset(name: str) -> dict[str, Table]:
    """The parts of a dataset of the hub by name.

    Args:
        name: `hub:<name>`, or `hub:<name>#<part>` for one part, such as `hub:stanfordnlp/imdb#train`.

    Raises:
        MissingInputError: if it cannot be fetched.
    """
    repository, _, part = name.removeprefix(HUB).partition("#")
    try:
        found = datasets.load_dataset(repository)
    except Exception as error:  # the hub, the network, the builder: each has its own kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MissingInputError(
            f"{name}: expected a dataset of the Hugging Face hub, which could not be fetched "
            f"({reason})"
        ) from error
    if part and part not in found:
        raise MissingInputError(f"{name}: expected one of the parts {', '.join(found)}")
    chosen = {part: found[part]} if part else found
    return {
        key: dataset_table(value, Path(f"{HUB}{repository}#{key}")) for key, value in chosen.items()
    }


def dataset_table(dataset: datasets.Dataset, path: Path) -> Table:
    """A Hugging Face dataset as a table; `path` stands for it in messages."""

    def read(wanted: Sequence[str], *, foreign: bool = False) -> Iterator[Record]:
        chosen = dataset.select_columns(list(dict.fromkeys(wanted))).with_format("arrow")
        classes = {name: _class_names(feature) for name, feature in chosen.features.items()}
        batches = chosen.iter(batch_size=ARROW_ROWS)
        try:
            yield from arrow_records(path, batches, wanted, classes=classes, foreign=foreign)
        except DAMAGED as error:
            raise DataError(f"{path}: expected a whole dataset; found {error}") from error

    return Table(
        path=path,
        columns=tuple(dataset.column_names),
        read=read,
        read_foreign=partial(read, foreign=True),
        arrow_only=arrow_only(dataset.features.arrow_schema),
        version=dataset._fingerprint,
    )


def _class_names(feature: Any) -> Sequence[str]:
    """Names of the classes that a column of a dataset counts, in lists or alone; else none."""
    if isinstance(feature, datasets.ClassLabel):
        return feature.names  # type: ignore[no-any-return]
    inner = getattr(feature, "feature", None)  # of the lists, all of which have one
    return () if inner is None else _class_names(inner)
