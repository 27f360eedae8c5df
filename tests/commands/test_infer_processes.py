"""Two processes are in tests/test_ddp.py; here one, under the Trainer."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lit_mtl.files import PARTIAL
from tests.conftest import Run


def test_under_a_trainer_the_output_is_the_same(
    lit_mtl: Run, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_mtl.data.inputs.WINDOW", 7)
    Path("in.txt").write_text("".join(f"{'so ' * (n * 5 % 11)}good {n}\n" for n in range(50)))
    Path(".partial-two.npy-part-3").write_bytes(b"of a process that was killed")
    words = ["embed", "--ckpt_path", exported, "--input", "in.txt", "--output"]
    assert lit_mtl(*words, "one.npy") == 0
    flags = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar", "false"]
    assert lit_mtl(*words, "two.npy", *flags) == 0
    np.testing.assert_allclose(np.load("two.npy"), np.load("one.npy"), atol=1e-5)
    assert sorted(path.name for path in Path().iterdir()) == ["in.txt", "one.npy", "two.npy"]
    assert PARTIAL == ".partial-"


def test_an_unknown_flag_is_refused(lit_mtl: Run, exported: Path) -> None:
    Path("in.txt").write_text("a\n")
    words = ["--input", "in.txt", "--output", "x.csv", "--trainer.devises=2"]
    with pytest.raises(SystemExit, match="2"):
        lit_mtl("predict", "--ckpt_path", exported, *words)


@pytest.mark.parametrize("flag", ["fast_dev_run=true", "limit_predict_batches=1"])
def test_a_part_of_the_rows_is_no_output(
    flag: str, lit_mtl: Run, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in.txt").write_text("a\n")
    words = ["--input", "in.txt", "--output", "x.csv", f"--trainer.{flag}"]
    assert lit_mtl("predict", "--ckpt_path", exported, *words) == 2
    assert flag.partition("=")[0] in capsys.readouterr().err
    assert not Path("x.csv").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is there")
def test_a_device_that_is_not_there_is_refused(
    lit_mtl: Run, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in.txt").write_text("a\n")
    words = ["--input", "in.txt", "--output", "x.csv", "--trainer.accelerator=cuda"]
    assert lit_mtl("predict", "--ckpt_path", exported, *words) == 2
    assert "CUDA" in capsys.readouterr().err
