import json
import resource
import signal
from pathlib import Path

import pytest

from lit_mtl import folders, load
from lit_mtl.artifact import export as export_module
from lit_mtl.artifact import folder as folder_module
from tests.conftest import Run
from tests.processes import context, ended
from tests.runs import run_folder


def _struck(words: list[str], folder: str, how: str) -> None:
    """In a process of its own: export, and be killed or meet a full disk at one place."""
    import os
    import sys

    def stop(*args: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    os.chdir(folder)
    places = {
        "weights": (folder_module, "_save_tensors"),
        "manifest": (export_module, "write_manifest"),
        "sync": (folders, "_sync"),
        "place": (folders, "_put_in_place"),
    }
    if how in places:
        owner, name = places[how]
        setattr(owner, name, stop)
    else:
        limit = int(how)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    from lit_mtl.cli import main

    sys.exit(main(words))


def test_the_command_says_what_it_has_found(
    lit_mtl: Run, calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "--ckpt_path", str(calibrated), "--output", str(tmp_path / "out")]
    assert lit_mtl(*words) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "sentiment: calibrated",
        "score: calibrated",
    ]
    assert lit_mtl(*words) == 2
    assert "--overwrite" in capsys.readouterr().err
    last = calibrated.parent / "last.ckpt"
    assert lit_mtl("export", "--ckpt_path", last, "--output", tmp_path / "last") == 0
    printed = capsys.readouterr().out
    assert "uncalibrated" in printed
    assert "no metrics" in printed
    assert lit_mtl("export", "--ckpt_path", "none.ckpt", "--output", "x") == 66


@pytest.mark.parametrize("how", ["weights", "manifest", "sync", "place", "2000", "40000"])
def test_f20_an_export_that_is_killed_or_finds_the_disk_full_leaves_the_old_one(
    how: str, lit_mtl: Run, calibrated: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    last = calibrated.parent / "last.ckpt"
    assert lit_mtl("export", "--ckpt_path", last, "--output", output) == 0
    before = (output / "manifest.json").read_bytes()
    words = ["export", "--ckpt_path", str(calibrated), "--output", str(output), "--overwrite"]
    process = context().Process(target=_struck, args=(words, str(tmp_path), how))
    process.start()
    assert ended(process) == (74 if how.isdecimal() else 128 + signal.SIGKILL)
    assert (output / "manifest.json").read_bytes() == before
    assert load(output).embed(["x"]).shape == (1, 256)
    assert len(list(tmp_path.iterdir())) == (1 if how.isdecimal() else 2)
    assert lit_mtl(*words) == 0
    assert (output / "manifest.json").read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "what was left is cleared up"


def test_a_manifest_says_calibrated_only_of_a_model_that_is(
    exported: Path, fit_arguments: list[str], lit_mtl: Run
) -> None:
    assert json.loads((exported / "manifest.json").read_bytes())["calibrated"] is True
    assert lit_mtl("fit", *fit_arguments, "--trainer.max_epochs=1") == 0  # on too few sentences
    best = run_folder(Path()) / "checkpoints" / "best.ckpt"
    assert lit_mtl("export", "--ckpt_path", best, "--output", "few") == 0
    assert json.loads(Path("few/manifest.json").read_bytes())["calibrated"] is False
