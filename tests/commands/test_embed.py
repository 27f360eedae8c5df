import io
from pathlib import Path

import numpy as np
import pytest
import torch

from lit_mtl.artifact.bundle import load_checkpoint
from lit_mtl.commands.embed import describe, save_array
from lit_mtl.errors import ConfigError
from tests.conftest import Run

SENTENCES = ["A fine film.", "A dull one.", "A fine film."]


@pytest.fixture
def checkpoint(lit_mtl: Run, fit_arguments: list[str], tmp_path: Path) -> Path:
    assert lit_mtl("fit", *fit_arguments, "--trainer.max_epochs=1") == 0
    return next(tmp_path.glob("lightning_logs/**/best.ckpt"))


def test_all_ways_in_give_the_same_output(
    lit_mtl: Run,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(SENTENCES) + "\n")
    capsys.readouterr()
    printed = []
    for arguments in (SENTENCES, ["--file", str(lines)], []):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.read_bytes())))
        assert lit_mtl("embed", "--ckpt_path", checkpoint, *arguments) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] == printed[2]
    assert "shape: (3, 256)" in printed[0]
    row = next(line for line in printed[0].splitlines() if line.startswith("1"))
    assert row.split()[2] == row.split()[4] == "1.000"


def test_the_saved_array_holds_the_embeddings(
    lit_mtl: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "vectors.npy"
    assert lit_mtl("embed", "--ckpt_path", checkpoint, "--output", output, *SENTENCES) == 0
    saved = torch.from_numpy(np.load(output))
    torch.testing.assert_close(saved, load_checkpoint(checkpoint).embed(SENTENCES))
    assert [path.name for path in output.parent.iterdir()] == ["vectors.npy"]
    assert "cos 3" in capsys.readouterr().out


def test_the_table_shows_norms_and_cosines_by_hand() -> None:
    text = describe(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), ["a", "b"])
    rows = [line.split() for line in text.splitlines()[-2:]]
    assert rows == [["1", "5.000", "1.000", "0.800", "a"], ["2", "2.000", "0.800", "1.000", "b"]]


def test_a_long_list_is_shown_in_part_and_says_so() -> None:
    text = describe(torch.randn(40, 4), [str(number) for number in range(40)])
    assert "... and 28 more" in text


def test_wrong_use_is_refused(
    tmp_path: Path, lit_mtl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"\.npy"):
        save_array(torch.zeros(1, 2), tmp_path / "a.txt")
    for content, code in ((b"\n \n", 2), ("schön\n".encode("latin-1"), 65)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert lit_mtl("embed", "--ckpt_path", "x.ckpt") == code
    assert lit_mtl("embed", "--ckpt_path", "x.ckpt", "a", " ") == 2
    with pytest.raises(SystemExit, match="2"):
        lit_mtl("embed", "--ckpt_path", "x.ckpt", "--batch_tokens=0", "a")
    assert lit_mtl("embed", "--ckpt_path", "x.ckpt", "--file", "a.txt", "b") == 2
    with pytest.raises(SystemExit, match="2"):
        lit_mtl("embed", "sentence")
