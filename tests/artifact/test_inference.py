import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lit_mtl import load
from lit_mtl.artifact.inference import Inference, Kind
from lit_mtl.data.inputs import Input


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Input:
    monkeypatch.setattr("lit_mtl.data.inputs.WINDOW", 8)
    path = tmp_path / "in.tsv"
    rows = [f"{n}\t{'so ' * (n * 7 % 13)}good {n}\n" if n % 9 else f"{n}\t\n" for n in range(60)]
    path.write_text("id\ttext\n" + "".join(rows))
    return Input(path=path)


@pytest.mark.parametrize("kind", ["predictions", "embedding"])
@pytest.mark.parametrize("world_size", [1, 2, 3, 11])
def test_parts_of_any_number_of_processes_join_to_the_same_file(
    kind: Kind, world_size: int, source: Input, exported: Path, tmp_path: Path
) -> None:
    model = load(exported)
    one, many = (
        Inference(model=model, kind=kind, source=source, output=tmp_path / name)
        for name in ("one.jsonl", "many.jsonl")
    )
    assert one.write() == 60
    for rank in range(world_size):
        with many.part(rank).open("wb") as file:
            for window in many.windows_of(rank, world_size):
                many.write_part(window, file)
    assert many.join(world_size) == 60
    assert (tmp_path / "many.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    assert not list(tmp_path.glob(".partial*"))


def test_rows_beyond_memory_pass_through_it(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peak does not grow with the input."""

    class Rows(Input):
        def _rows(self) -> Iterator[tuple[str, list[str]]]:
            for number in range(self.limit):
                yield f"good {number}", [f"good {number}"]

        limit = 0

    monkeypatch.setattr("lit_mtl.data.inputs.WINDOW", 256)
    inference = Inference(
        model=load(exported), kind="embedding", source=Rows(), output=tmp_path / "x.npy"
    )
    peaks = []
    for Rows.limit in (512, 512, 5120):
        tracemalloc.start()
        assert inference.write() == Rows.limit
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert np.load(tmp_path / "x.npy").shape == (5120, 256)
    assert peaks[2] < 1.5 * peaks[1], peaks


def test_a_failed_run_leaves_the_old_output(source: Input, exported: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    output.write_text("old")
    inference = Inference(model=load(exported), kind="predictions", source=source, output=output)

    def failing(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inference.write(progress=failing)
    assert output.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tsv", "out.csv"]
