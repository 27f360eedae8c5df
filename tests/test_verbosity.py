"""What commands print for `--quiet`, by default and for `--verbose`, in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lit_mtl.errors import ConfigError
from lit_mtl.verbosity import VARIABLE, Verbosity, chosen, verbosity
from tests.conftest import Run
from tests.processes import finished
from tests.runs import differing, last_state, run_folder

FLAGS: dict[Verbosity, list[str]] = {
    Verbosity.QUIET: ["--quiet"],
    Verbosity.NORMAL: [],
    Verbosity.VERBOSE: ["--verbose"],
}


def test_the_flags_are_taken_out_and_the_choice_holds_for_the_block_alone() -> None:
    for said, flags in FLAGS.items():
        with chosen(["--a", *flags, "b", "--", "--quiet"]) as words:
            assert words == ["--a", "b", "--", "--quiet"]
            assert verbosity() is said
        assert VARIABLE not in os.environ
    with (
        pytest.raises(ConfigError, match="one of --quiet and --verbose"),
        chosen(["--quiet", "--verbose"]),
    ):
        pass


def test_the_environment_chooses_where_no_flag_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "quiet")
    with chosen([]):
        assert verbosity() is Verbosity.QUIET
    with chosen(["--verbose"]):
        assert verbosity() is Verbosity.VERBOSE
    assert verbosity() is Verbosity.QUIET
    monkeypatch.setenv(VARIABLE, "loud")
    with pytest.raises(ConfigError, match="expected one of quiet, normal, verbose; found 'loud'"):
        verbosity()


def printed(folder: Path, said: Verbosity, *words: str) -> str:
    folder.mkdir(exist_ok=True)
    output = folder / "output.txt"
    output.unlink(missing_ok=True)
    assert finished([*words, *FLAGS[said]], folder=folder, output=output) == 0
    return output.read_text()


QUIET_FIT = "results:    lightning_logs/runs/version_0/results.json\n"


def test_what_is_printed_differs_and_nothing_else_does(
    tmp_path: Path, fit_arguments: list[str]
) -> None:
    words = ["fit", *fit_arguments]
    shown, results, states = {}, {}, {}
    for said in FLAGS:
        shown[said] = printed(tmp_path / said, said, *words)
        found: dict[str, Any] = json.loads(
            (run_folder(tmp_path / said) / "results.json").read_text()
        )
        results[said] = {key: value for key, value in found.items() if key != "training_seconds"}
        states[said] = last_state(run_folder(tmp_path / said))
    quiet, normal, verbose = shown.values()
    assert quiet == QUIET_FIT
    assert normal.count("lightning_logs/runs/version_0/results.json") == 1
    assert normal.count("sentences    sentiment") == 1
    assert len(verbose.splitlines()) > len(normal.splitlines())
    assert all(note not in normal for note in ("Seed set", "Loaded model weights", "stopped:"))
    assert all(note in verbose for note in ("Seed set", "Loaded model weights", "stopped:"))
    assert results[Verbosity.QUIET] == results[Verbosity.NORMAL] == results[Verbosity.VERBOSE]
    for said in (Verbosity.QUIET, Verbosity.VERBOSE):
        assert differing(states[said], states[Verbosity.NORMAL]) == []


@pytest.mark.slow
def test_the_processes_that_ddp_starts_are_as_quiet(fit_arguments: list[str]) -> None:
    words = ["fit", *fit_arguments, "--trainer.devices=2", "--trainer.strategy=ddp", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "lit_mtl", *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, QUIET_FIT, "")


def test_on_a_pipe_there_is_a_line_a_validation_and_nothing_that_steers_a_terminal(
    tmp_path: Path, fit_arguments: list[str]
) -> None:
    lines = {}
    for epochs in (2, 12):
        words = [*fit_arguments, f"--trainer.max_epochs={epochs}"]
        text = printed(tmp_path / str(epochs), Verbosity.NORMAL, "fit", *words)
        assert all(character.isprintable() or character == "\n" for character in text)
        lines[epochs] = len(text.splitlines())
    assert lines[12] == lines[2] + 10


def test_quiet_inference_prints_what_was_asked_for_and_nothing_of_how(
    tmp_path: Path, exported: Path
) -> None:
    words = ["predict", f"--ckpt_path={exported}", "A fine film."]
    shown = {said: printed(tmp_path, said, *words) for said in (Verbosity.QUIET, Verbosity.NORMAL)}
    assert shown[Verbosity.QUIET] == shown[Verbosity.NORMAL]
    assert json.loads(shown[Verbosity.QUIET])["text"] == "A fine film."
    written = [*words, "--output=found.jsonl"]
    assert printed(tmp_path, Verbosity.QUIET, *written) == ""
    assert printed(tmp_path, Verbosity.NORMAL, *written) == "1 rows are in found.jsonl\n"


def test_an_error_is_told_always_and_its_origin_to_who_asks_for_all(
    lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "lit_mtl embed: no.ckpt: expected a checkpoint file, found none\n"
    for said, flags in FLAGS.items():
        assert lit_mtl("embed", "--ckpt_path=no.ckpt", "a", *flags) == 66
        err = capsys.readouterr().err
        assert err.endswith(message)
        assert ("Traceback" in err) is (said is Verbosity.VERBOSE)
        assert (err == message) is (said is not Verbosity.VERBOSE)
