"""Which checkpoint `fit` continues."""

import json
from pathlib import Path

import pytest
import yaml

from lit_mtl.checkpoints import (
    SPEC_KEY,
    manifest_of,
    read_checkpoint,
    read_manifest,
    write_checkpoint,
)
from tests.conftest import EXAMPLE_FILES, Run
from tests.runs import differing, fault, last_state, run_folder

STOP = fault(what="SIGTERM", step=6)


def folders() -> list[str]:
    return sorted(path.name for path in Path("lightning_logs/runs").glob("*"))


def test_f9_required_and_not_there(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("fit", *fit_arguments, "--ckpt_path=require") == 66
    assert "expected a checkpoint to continue, found none" in capsys.readouterr().err
    assert lit_mtl("fit", *fit_arguments, "--ckpt_path=require", "--trainer.logger=false") == 66
    assert "checkpoints: expected a checkpoint" in capsys.readouterr().err
    assert not Path("lightning_logs").exists()


def test_auto_continues_the_newest_run_and_without_it_a_new_one_begins(
    lit_mtl: Run, fit_arguments: list[str]
) -> None:
    words = ["fit", *fit_arguments]
    assert lit_mtl(*words, *STOP) == 143
    assert lit_mtl(*words, "--ckpt_path=require") == 0
    assert folders() == ["version_0"]
    assert lit_mtl(*words) == 0
    assert lit_mtl(*words, "--ckpt_path=never") == 0
    assert folders() == ["version_0", "version_1", "version_2"]
    states = (run_folder(Path(), 2) / "checkpoints").glob("step_*.json")
    steps = [json.loads(path.read_text())["step"] for path in states]
    assert sorted(steps) == [5, 10]


def test_auto_looks_in_the_folder_that_the_config_names(
    lit_mtl: Run, fit_arguments: list[str]
) -> None:
    words = ["fit", *fit_arguments, "--checkpoint.dirpath=kept"]
    assert lit_mtl(*words, *STOP) == 143
    assert Path("kept/step_6.ckpt").is_file()
    assert lit_mtl(*words, "--ckpt_path=never") == 2
    assert lit_mtl(*words) == 0
    assert manifest_of(Path("kept/step_10.ckpt")).is_file()
    # without a logger a run lies in the working directory
    words = ["fit", *fit_arguments, "--trainer.logger=false"]
    assert lit_mtl(*words) == 0
    assert Path("checkpoints/step_10.ckpt").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["~/runs", "$HOME/runs"])
def test_a_folder_below_the_users_home_is_the_one_that_is_written_to(
    place: str, lit_mtl: Run, fit_arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning's own logger expands such names where it writes, and not where it looks."""
    monkeypatch.setenv("HOME", str(Path("home").resolve()))
    words = ["fit", *fit_arguments, f"--trainer.logger.init_args.save_dir={place}"]
    assert lit_mtl(*words, *STOP) == 143
    assert lit_mtl(*words, "--ckpt_path=require") == 0
    assert lit_mtl(*words, "--trainer.max_epochs=1") == 0
    state = "home/runs/runs/version_0/checkpoints/step_10.ckpt"
    assert lit_mtl(*words, "--ckpt_path", state) == 0  # in a folder of its own
    found = sorted(run.name for run in Path("home/runs/runs").iterdir())
    assert found == [f"version_{number}" for number in range(3)]
    assert not Path("~").exists()


@pytest.mark.parametrize(
    ("logger", "runs"),
    [("CSVLogger", ["version_0", "version_1"]), ("TensorBoardLogger", ["version_0"])],
)
def test_a_logger_that_would_delete_the_former_logs_gets_a_new_folder(
    logger: str, runs: list[str], lit_mtl: Run, fit_arguments: list[str]
) -> None:
    settings = {
        "class_path": f"lightning.pytorch.loggers.{logger}",
        "init_args": {"save_dir": "logs", "name": "mine"},
    }
    Path("logger.yaml").write_text(yaml.safe_dump({"trainer": {"logger": settings}}))
    words = ["fit", *fit_arguments, "--config=logger.yaml", "--ckpt_path=auto"]
    assert lit_mtl(*words, *fault(what="SIGTERM", step=6, marker=logger)) == 143
    assert lit_mtl(*words) == 0
    assert sorted(path.name for path in Path("logs/mine").iterdir()) == runs
    assert Path(f"logs/mine/{runs[-1]}/checkpoints/step_10.ckpt").is_file()
    assert Path(f"logs/mine/{runs[-1]}/checkpoints/best.ckpt").is_file()


@pytest.mark.slow
def test_f10_other_data_are_refused_with_both_values(
    lit_mtl: Run,
    fit_arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in EXAMPLE_FILES.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    words = ["fit", *fit_arguments, f"--data.path={data}", "--ckpt_path=auto"]
    assert lit_mtl(*words, *STOP) == 143
    original = (data / "positive.txt").read_text()
    (data / "positive.txt").write_text(original + "One sentence more, and a good one.\n")
    capsys.readouterr()
    assert lit_mtl(*words) == 2
    message = capsys.readouterr().err
    assert "data's sentences" in message
    assert "data's fingerprint" in message
    (data / "positive.txt").write_text(original.replace(original[:8], original[:8].upper(), 1))
    assert lit_mtl(*words) == 2
    assert "data's fingerprint" in capsys.readouterr().err
    (data / "positive.txt").write_text(original)
    assert lit_mtl(*words, "--data.num_workers=1", "--data.eval_batch_size=3") == 0


def test_f11_weights_alone_are_no_state_to_continue(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("fit", *fit_arguments, *STOP) == 143
    best = run_folder(Path()) / "checkpoints" / "best.ckpt"
    assert lit_mtl("fit", *fit_arguments, "--ckpt_path", best) == 2
    message = capsys.readouterr().err
    assert "test, predict or embed" in message
    assert "--ckpt_path auto" in message


def test_another_mixing_or_weight_of_a_source_is_refused(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = next(word for word in fit_arguments if word.startswith("--data.path="))
    sources = "{a: {path: " + path.removeprefix("--data.path=") + "}}"
    words = [word for word in fit_arguments if word != path]
    words += [f"--data.sources={sources}", "--trainer.max_epochs=1"]
    assert lit_mtl("fit", *words) == 0
    for option, message in (
        ("--data.mixing=uniform", "data.mixing: 'proportional' there, 'uniform' here"),
        ("--data.mixing_temperature=2", "data.mixing_temperature: 1.0 there, 2.0 here"),
        ("--data.sources.a.weight=2", "data.sources.a.weight: 1.0 there, 2.0 here"),
    ):
        capsys.readouterr()
        assert lit_mtl("fit", *words, option, "--ckpt_path=auto") == 2
        assert message in capsys.readouterr().err


def test_a_run_with_several_loggers_is_found_by_the_first_of_them(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    loggers = [
        {
            "class_path": f"lightning.pytorch.loggers.{name}",
            "init_args": {"save_dir": "logs", "name": name, "version": "mine"},
        }
        for name in ("TensorBoardLogger", "CSVLogger")
    ]
    Path("loggers.yaml").write_text(yaml.safe_dump({"trainer": {"logger": loggers}}))
    words = ["fit", *fit_arguments, "--config=loggers.yaml"]
    assert lit_mtl(*words, *STOP) == 143
    state = Path("logs/TensorBoardLogger/mine/checkpoints/step_6.ckpt")
    written = state.stat().st_mtime_ns
    assert lit_mtl(*words, "--ckpt_path=never") == 2
    capsys.readouterr()
    assert lit_mtl(*words) == 0
    assert "step 6" in capsys.readouterr().out
    assert not state.exists() or state.stat().st_mtime_ns == written


def test_lightnings_own_logger_is_looked_for_where_it_writes(
    lit_mtl: Run, fit_arguments: list[str]
) -> None:
    words = ["fit", *fit_arguments, "--trainer.logger=true"]
    assert lit_mtl(*words, *STOP) == 143
    assert Path("lightning_logs/version_0/checkpoints/step_6.ckpt").is_file()
    assert lit_mtl(*words, "--ckpt_path=require") == 0
    assert list(Path("lightning_logs").glob("version_*/checkpoints/step_10.ckpt"))


def test_where_nobody_knows_the_folder_nothing_begins_anew(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    logger = {"class_path": "lightning.pytorch.loggers.logger.DummyLogger"}
    Path("logger.yaml").write_text(yaml.safe_dump({"trainer": {"logger": logger}}))
    assert lit_mtl("fit", *fit_arguments, "--config=logger.yaml", "--ckpt_path=auto") == 2
    assert "`checkpoint.dirpath`" in capsys.readouterr().err


STAGES = """
freezing:
  stages:
    - {name: heads, freeze: [backbone], until_epoch: 1}
    - {name: all, lr_scale: 0.5}
"""


def as_of_an_earlier_version(path: Path) -> None:
    """Write a checkpoint as if some options, and fields of tasks and stages, were not known yet."""
    checkpoint, facts = read_checkpoint(path), read_manifest(path)
    spec = checkpoint[SPEC_KEY]
    del spec["architecture"]["normalize"], spec["tasks"]["score"]["bounded"]
    for name, state in checkpoint.get("callbacks", {}).items():
        if name.startswith("StagedFreezing"):
            for stage in state["plan"]:
                del stage["warmup_steps"], stage["loss_weights"]
        if name.startswith("Checkpointing"):
            del state["settings"]["model.layer_decay"], state["settings"]["averaging.decay"]
    facts = {key: value for key, value in facts.items() if key not in ("bytes", "sha256")}
    write_checkpoint(checkpoint, path, facts)


def test_a_run_of_an_earlier_version_goes_on_with_the_defaults_of_what_is_new(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("stages.yaml").write_text(STAGES)
    words = ["fit", *fit_arguments, "--config=stages.yaml"]
    assert lit_mtl(*words) == 0
    assert lit_mtl(*words, *STOP) == 143
    folder = run_folder(Path(), 1) / "checkpoints"
    for path in {path.resolve() for path in folder.glob("*.ckpt")}:
        as_of_an_earlier_version(path)
    words.append("--ckpt_path=auto")
    assert lit_mtl(*words, "--model.layer_decay=0.9") == 2
    message = capsys.readouterr().err
    assert "other settings: model.layer_decay: 0.95 there, 0.9 here. Continue" in message
    assert lit_mtl(*words, "--tasks.score.init_args.bounded=true") == 2
    message = capsys.readouterr().err
    assert "'score' has bounded=True; the model was trained with bounded=False" in message
    # of a run from Python no setting is known, and it is not one with the defaults
    state, unknown = read_checkpoint(folder / "step_6.ckpt"), Path("unknown") / "step_6.ckpt"
    for name, entry in state["callbacks"].items():
        if name.startswith("Checkpointing"):
            entry["settings"] = {}
    unknown.parent.mkdir()
    write_checkpoint(state, unknown)
    assert lit_mtl(*words[:-1], "--ckpt_path", unknown) == 2
    assert "model.lr: None there, 0.001 here" in capsys.readouterr().err
    assert lit_mtl("test", *fit_arguments, "--ckpt_path", folder / "best.ckpt") == 0
    assert lit_mtl(*words) == 0
    assert not differing(last_state(folder.parent), last_state(run_folder(Path(), 0)))
