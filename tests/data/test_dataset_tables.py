"""Saved datasets are tables, with the names of their classes in place of numbers."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import datasets
import pytest

from lit_mtl.data.dataset_tables import open_hub_dataset
from lit_mtl.data.tables import is_table, open_table, saved_datasets, tables
from lit_mtl.errors import DataError
from lit_mtl.tasks import Multilabel
from tests.data.corpora import build, targets
from tests.data.table_rows import read


def test_a_saved_dataset_is_a_table_with_its_class_names(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    dataset = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features)
    dataset.save_to_disk(str(tmp_path / "saved"))
    assert is_table(tmp_path / "saved")
    assert tables(tmp_path / "saved") == [tmp_path / "saved"]
    assert read(tmp_path / "saved", "label") == [("a", "good"), ("b", "bad"), ("c", None)]
    datasets.DatasetDict({"train": dataset}).save_to_disk(str(tmp_path / "several"))
    assert list(saved_datasets(tmp_path / "several")) == ["train"]
    assert list(saved_datasets(tmp_path / "saved")) == [""]
    assert saved_datasets(tmp_path) == {}
    (tmp_path / "saved" / "dataset_info.json").unlink()
    with pytest.raises(DataError, match="expected a whole saved dataset"):
        open_table(tmp_path / "saved")


def test_lists_of_class_numbers_in_a_saved_dataset_are_lists_of_their_names(
    tmp_path: Path,
) -> None:
    classes = datasets.ClassLabel(names=["plot", "actors", "music"])
    text = {"text": ["both", "one", "none", "unknown"]}
    tags = [[0, 1], [2], [], None]
    path = tmp_path / "saved"
    for lists in (datasets.List(classes), datasets.LargeList(classes), datasets.List(classes, 2)):
        fixed = getattr(lists, "length", -1) == 2
        values = [tags[0] if fixed and tag is not None else tag for tag in tags]
        features = datasets.Features({"text": datasets.Value("string"), "tags": lists})
        dataset = datasets.Dataset.from_dict({**text, "tags": values}, features)
        dataset.save_to_disk(str(path))
        names = {0: "plot", 1: "actors", 2: "music"}
        expected = [
            None if value is None else json.dumps([names[number] for number in value])
            for value in values
        ]
        assert [cell for _, cell in read(path, "tags")] == expected
        shutil.rmtree(path)

    built = build(write_tagged(path, [[0, 1], [2], [], None]), tasks={"tags": Multilabel()})
    task = built.tasks["tags"]
    assert {text: task.describe(tuple(row["tags"])) for text, row in targets(built).items()} == {
        "text 0": "actors|plot",
        "text 1": "music",
        "text 2": task.describe((0.0, 0.0, 0.0)),
    }
    assert built.readings["tags"].dropped["without a target"].examples == [f"{path}:4"]
    with pytest.raises(DataError, match=r"saved:2: .*in which one is null"):
        build(write_tagged(path, [[0], [1, -1]]), tasks={"tags": Multilabel()})


def write_tagged(path: Path, tags: Sequence[Sequence[int] | None]) -> Path:
    """Save a dataset whose column `tags` has lists of class numbers."""
    shutil.rmtree(path, ignore_errors=True)
    classes = datasets.ClassLabel(names=["plot", "actors", "music"])
    features = datasets.Features({"text": datasets.Value("string"), "tags": datasets.List(classes)})
    texts = [f"text {number}" for number in range(len(tags))]
    dataset = datasets.Dataset.from_dict({"text": texts, "tags": list(tags)}, features)
    dataset.save_to_disk(str(path))
    return path


def test_a_class_number_without_a_name_is_refused_with_its_row(tmp_path: Path) -> None:
    path = write_tagged(tmp_path / "saved", [[0, 2], [1]])
    facts = path / "dataset_info.json"
    facts.write_text(facts.read_text().replace('"music"', "").replace('"actors",', '"actors"'))
    with pytest.raises(
        DataError, match=r"saved:1: expected the number of one of 2 classes; found 2"
    ):
        read(path, "tags")


def test_a_damaged_string_in_a_saved_dataset_is_refused_with_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    text = [f"sentence number {number}" for number in range(2000)]
    datasets.Dataset.from_dict({"text": text, "score": [1.0] * 2000}).save_to_disk(str(path))
    (file,) = path.glob("*.arrow")
    content = file.read_bytes()
    assert b"number 1000" in content
    file.write_bytes(content.replace(b"number 1000", b"number \xff\xff\xff\xff"))
    with pytest.raises(DataError, match=r"saved: expected a whole dataset"):
        read(path)


def test_a_part_of_a_hub_dataset_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = datasets.DatasetDict(train=datasets.Dataset.from_dict({"text": ["a"]}))
    monkeypatch.setattr(datasets, "load_dataset", lambda name: parts)
    for name in ("hub:me/x#train", "hub:me/x"):
        assert str(open_hub_dataset(name)["train"].path) == "hub:me/x#train"
