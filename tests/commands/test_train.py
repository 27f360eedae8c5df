"""The Trainer's commands as a user gives them, in this process."""

import json
import math
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_mtl import load
from lit_mtl.artifact.bundle import load_checkpoint
from lit_mtl.optim.schedules import WarmupDecay
from lit_mtl.tasks import Classification
from tests.conftest import EXAMPLE_FILES, Run, many_sentences
from tests.runs import run_folder

RUNS = Path("lightning_logs/runs")


def test_fit_trains_reports_and_leaves_what_is_needed(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("fit", *fit_arguments) == 0
    printed = capsys.readouterr().out
    for part in ("embeddings  ", "trainable", "epoch 2, step", "pearson", "f1_macro"):
        assert part in printed
    run = RUNS / "version_0"
    results = json.loads((run / "results.json").read_text())
    assert set(results["results"]) == {"val", "test"}
    assert results["checkpoint"].endswith("best.ckpt")
    kept = {path.name for path in (run / "checkpoints").iterdir()}
    assert {"best.ckpt", "last.ckpt", "step_5.ckpt", "step_10.ckpt", "step_10.json"} <= kept
    assert list(run.glob("events.out.tfevents.*"))


@pytest.mark.parametrize(("command", "split"), [("validate", "val"), ("test", "test")])
def test_the_results_of_a_fit_stay_when_its_checkpoint_is_measured_again(
    command: str, split: str, lit_mtl: Run, fit_arguments: list[str]
) -> None:
    words = [*fit_arguments, "--trainer.logger.init_args.version=mine"]
    assert lit_mtl("fit", *words) == 0
    run = RUNS / "mine"
    before = (run / "results.json").read_bytes()
    best = run / "checkpoints" / "best.ckpt"
    assert lit_mtl(command, *words, "--ckpt_path", str(best)) == 0
    assert (run / "results.json").read_bytes() == before
    again = json.loads((run / f"results_{split}.json").read_text())["results"]
    assert again == {split: json.loads(before)["results"][split]}


def test_a_run_that_ends_before_its_first_validation_is_kept(
    lit_mtl: Run, fit_arguments: list[str]
) -> None:
    assert lit_mtl("fit", *fit_arguments, "--trainer.max_steps=1") == 0
    results = json.loads((RUNS / "version_0" / "results.json").read_text())
    assert Path(results["checkpoint"]).name == "step_1.ckpt"
    assert torch.load(results["checkpoint"], weights_only=True)["global_step"] == 1


def scalars_of(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run: tag to steps and values."""
    events = EventAccumulator(str(run))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


@pytest.mark.slow
def test_best_is_the_epoch_of_the_largest_selection_and_last_is_the_end(
    lit_mtl: Run, fit_arguments: list[str]
) -> None:
    assert lit_mtl("fit", *fit_arguments, "--trainer.max_epochs=6", "--model.lr=5e-3") == 0
    folder = RUNS / "version_0" / "checkpoints"
    kept = {
        name: torch.load(folder / f"{name}.ckpt", weights_only=True)["global_step"]
        for name in ("best", "last")
    }
    selection = [value for _, value in scalars_of(RUNS / "version_0")["val/selection"]]
    steps = kept["last"] // 6
    assert kept == {"best": steps * (1 + selection.index(max(selection))), "last": 6 * steps}
    assert kept["best"] < kept["last"], "the test would not tell one from the other"


def test_every_group_follows_the_schedule_step_by_step_in_tensorboard(
    lit_mtl: Run, fit_arguments: list[str]
) -> None:
    assert lit_mtl("fit", *fit_arguments, "--model.layer_decay=0.5") == 0
    scalars = scalars_of(RUNS / "version_0")
    course = WarmupDecay(total_steps=10, warmup_fraction=0.1, shape="linear")
    peaks = {"heads.score": 1e-2, "projection": 5e-3, "layer_1": 5e-4, "embeddings": 1.25e-4}
    for part, peak in peaks.items():
        found = dict(scalars[f"lr/{part}/decay"])
        assert found == pytest.approx({step: peak * course(step) for step in range(10)})
    assert {"train/score/loss", "val/sentiment/accuracy", "test/score/pearson"} <= set(scalars)


@pytest.mark.slow
def test_a_checkpoint_is_continued_by_the_same_settings_only(
    lit_mtl: Run, fit_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = ["--trainer.callbacks+=tests.faults.Fault"]
    stop += ["--trainer.callbacks.init_args.what=SIGTERM"]
    assert lit_mtl("fit", *fit_arguments, *stop, "--trainer.callbacks.init_args.step=5") == 143
    assert "step_5.ckpt; --ckpt_path auto" in capsys.readouterr().err
    last = RUNS / "version_0" / "checkpoints" / "step_5.ckpt"
    assert lit_mtl("fit", *fit_arguments, "--ckpt_path", last) == 0
    newest = RUNS / "version_1" / "checkpoints" / "last.ckpt"
    assert torch.load(newest, weights_only=True)["global_step"] == 10
    capsys.readouterr()
    backbone = next(word for word in fit_arguments if "backbone" in word).partition("=")[2]
    for change, message in (
        ("--trainer.max_epochs=4", "trainer.max_epochs: 2 there, 4 here"),
        ("--model.lr=2e-3", "model.lr: 0.001 there, 0.002 here"),
        ("--seed_everything=1", "seed_everything: 0 there, 1 here"),
        ("--freezing.eval_mode=false", "freezing.eval_mode: True there, False here"),
        ("--data.max_length=9", "data.max_length: 128 there, 9 here"),
        ("--trainer.precision=bf16-mixed", "trainer.precision: '32-true' there, 'bf16-mixed' here"),
        ("--trainer.gradient_clip_val=1", "gradient_clip_val: None there, 1"),
        ("--trainer.callbacks.init_args.step=6", "callbacks.Fault: [{'what': 'SIGTERM',"),
        ("--data.batch_size=4", "data.batch_size: 8 there, 4 here"),
        ("--data.batch_tokens=256", "data.batch_tokens: None there, 256 here"),
        ("--trainer.accumulate_grad_batches=2", "accumulate_grad_batches: 1 there, 2 here"),
        ("--freezing.stages=[{name: all}]", "freezing.stages: [] there, [{'name': 'all', "),
        ("--model.backbone=minilm", f"backbone: {backbone}; this run has minilm"),
        ("--model.pooling=max", "architecture.pooling: mean; this run has max"),
        ("--tasks.score.weight=2", "weight=1.0"),
    ):
        words = [*fit_arguments, "--ckpt_path", last]
        words += [*stop, change] if "callbacks" in change else [change]
        assert lit_mtl("fit", *words) == 2, change
        assert message in capsys.readouterr().err, change


def test_learned_loss_weights_are_shown_kept_and_not_exported(
    lit_mtl: Run, fit_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*fit_arguments, "--model.loss_balancing=uncertainty"]
    assert lit_mtl("fit", *words) == 0
    printed = capsys.readouterr().out
    (row,) = [line for line in printed.splitlines() if line.startswith("loss_weights")]
    assert row.split() == ["loss_weights", "-1", "2", "2", "0.01"]
    scalars, folder = scalars_of(RUNS / "version_0"), RUNS / "version_0" / "checkpoints"
    kept = torch.load(folder / "last.ckpt", weights_only=True)
    for task in ("sentiment", "score"):
        weights = [value for _, value in scalars[f"train/{task}/loss_weight"]]
        assert weights[0] == 1.0
        assert len({*weights}) == len(weights) == 10
        losses, weighted = scalars[f"train/{task}/loss"], scalars[f"train/{task}/weighted_loss"]
        expected = [loss * weight for (_, loss), weight in zip(losses, weights, strict=True)]
        assert [value for _, value in weighted] == pytest.approx(expected, rel=1e-5)
        last = math.exp(-kept["loss_log_variances"][task])
        # after the last step; that one is at the end of the schedule
        assert last == pytest.approx(weights[-1], abs=2e-3)
    assert lit_mtl("export", "--ckpt_path", folder / "best.ckpt", "--output", "out") == 0
    exported, best = load("out").network.state_dict(), load_checkpoint(folder / "best.ckpt").network
    assert all(torch.equal(value, exported[name]) for name, value in best.state_dict().items())
    data = [word for word in fit_arguments if word.startswith("--data.")]
    assert lit_mtl("test", *data, "--ckpt_path", folder / "best.ckpt") == 0
    capsys.readouterr()
    assert lit_mtl("fit", *fit_arguments, "--ckpt_path=auto") == 2
    message = "another loss_balancing: uncertainty; this run has static"
    assert message in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit, match="2"):
        lit_mtl("fit", *fit_arguments, "--model.loss_balancing=gradnorm")
    assert "['static', 'uncertainty', 'upgrad']. Got value: gradnorm" in capsys.readouterr().err


def test_without_a_logger_nothing_is_written_beside_the_checkpoints(
    lit_mtl: Run, fit_arguments: list[str]
) -> None:
    Path("config.yaml").write_text("data: {batch_size: 7}\n")
    assert lit_mtl("fit", "--config=config.yaml", *fit_arguments, "--trainer.logger=false") == 0
    assert Path("config.yaml").read_text() == "data: {batch_size: 7}\n"
    assert not Path("results.json").exists()


def test_a_run_without_a_test_split_ends_with_the_validation(
    lit_mtl: Run, fit_arguments: list[str]
) -> None:
    assert lit_mtl("fit", *fit_arguments, "--data.test_fraction=0") == 0
    results = json.loads((RUNS / "version_0" / "results.json").read_text())["results"]
    assert set(results) == {"val"}


def test_an_empty_test_split_fails_before_the_training(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("fit", *fit_arguments, "--data.test_fraction=1e-9") == 2
    captured = capsys.readouterr()
    assert "test split holds no sentence" in captured.err
    assert "epoch 1" not in captured.out


def test_a_diverging_run_is_stopped(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("fit", *fit_arguments, "--model.lr=1e30") == 70
    assert "`model.lr`" in capsys.readouterr().err
    assert not (RUNS / "version_0" / "results.json").exists()


def test_test_and_validate_give_the_numbers_that_fit_reported(
    lit_mtl: Run, fit_arguments: list[str], tiny_bert: Path, tmp_path: Path
) -> None:
    """Also where the backbone is gone that the network began with."""
    backbone = shutil.copytree(tiny_bert, tmp_path / "backbone")
    fit_arguments = [*fit_arguments, f"--model.backbone={backbone}"]
    assert lit_mtl("fit", *fit_arguments) == 0
    shutil.rmtree(backbone)
    reported = json.loads((RUNS / "version_0" / "results.json").read_text())["results"]
    best = RUNS / "version_0" / "checkpoints" / "best.ckpt"
    without_epochs = [word for word in fit_arguments if "max_epochs" not in word]
    for number, (command, split) in enumerate([("validate", "val"), ("test", "test")], start=1):
        assert lit_mtl(command, *without_epochs, "--ckpt_path", best) == 0
        found = json.loads((RUNS / f"version_{number}" / "results.json").read_text())["results"]
        assert found == {split: reported[split]}


def rated(path: Path, labels: list[str]) -> Path:
    """Sentences with a label, a level and a score that grow with one another."""
    rows = [
        f"sentence number {row} is {label},{label},{labels.index(label)},{labels.index(label) / 2}"
        for row, label in enumerate(labels * 20)
    ]
    path.write_text("text,label,stars,score\n" + "\n".join(rows) + "\n")
    return path


@pytest.mark.slow
def test_a_model_is_measured_on_data_that_lack_a_label_or_a_level(
    lit_mtl: Run, tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the declarations leave to the data is as the training found it, also in what is cached."""
    words = [
        *(f"--model.backbone={tiny_bert}", "--trainer.accelerator=cpu"),
        f"--data.cache_dir={tmp_path / 'prepared'}",
        '--tasks={"label": {"kind": "classification"}, "stars": {"kind": "ordinal"}, '
        '"score": {"kind": "regression"}}',
    ]
    first = rated(tmp_path / "first.csv", ["bad", "fair", "good"])
    fit = [*words, f"--data.path={first}", "--trainer.max_epochs=1"]
    assert lit_mtl("fit", *fit) == 0
    best = ["--ckpt_path", RUNS / "version_0" / "checkpoints" / "best.ckpt"]
    (prepared,) = (tmp_path / "prepared").iterdir()
    assert lit_mtl("test", *words, f"--data.path={first}", *best) == 0
    assert list((tmp_path / "prepared").iterdir()) == [prepared]
    fewer = rated(tmp_path / "fewer.csv", ["bad", "fair"])
    # prepared by a training first, which finds other labels in them
    assert lit_mtl("fit", *words, f"--data.path={fewer}", "--trainer.max_epochs=1") == 0
    every = ["--data.val_fraction=0", "--data.test_fraction=1"]
    assert lit_mtl("test", *words, f"--data.path={fewer}", *every, *best) == 0
    results = json.loads((RUNS / "version_3" / "results.json").read_text())["results"]["test"]
    assert {name: result["n"] for name, result in results.items()} == dict.fromkeys(results, 40)
    assert lit_mtl("fit", *words, f"--data.path={fewer}", *every) == 2
    assert "The train split holds no sentence" in capsys.readouterr().err
    other = rated(tmp_path / "other.csv", ["bad", "new"])
    capsys.readouterr()
    assert lit_mtl("test", *words, f"--data.path={other}", *best) == 65
    assert "other.csv:3: expected" in capsys.readouterr().err


def test_groups_shows_the_table_without_training(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("groups", *fit_arguments) == 0
    printed = capsys.readouterr().out
    assert [word for word in printed.splitlines() if word.startswith("layer_1/no_decay")]
    assert "sentences" in printed
    assert not list(Path("lightning_logs").glob("**/*.ckpt"))
    assert lit_mtl("fit", *fit_arguments) == 0
    capsys.readouterr()
    saved = ["--config", RUNS / "version_0" / "config.yaml", "--ckpt_path=gone.ckpt"]
    assert lit_mtl("groups", *saved) == 0
    assert "layer_1/no_decay" in capsys.readouterr().out


def test_without_a_weight_of_a_task_the_protection_still_trains(
    lit_mtl: Run, fit_arguments: list[str]
) -> None:
    words = [
        *fit_arguments,
        "--tasks.score.weight=0",
        "--tasks.sentiment.weight=0",
        "--protection.weight=1",
        "--trainer.max_epochs=1",
    ]
    assert lit_mtl("fit", *words) == 0
    assert lit_mtl("fit", *words, "--freezing.stages=[{name: all}]") == 0


def test_only_labels_or_only_scores_train_one_task(
    lit_mtl: Run, fit_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    for name in ("positive", "negative"):
        (labels / f"{name}.txt").write_text((EXAMPLE_FILES / f"{name}.txt").read_text())
    for path, task in ((labels, "sentiment"), (EXAMPLE_FILES / "scores.tsv", "score")):
        assert lit_mtl("fit", *fit_arguments, f"--data.path={path}") == 0
        assert "no data, so no head is trained for it" in capsys.readouterr().out
        newest = max(RUNS.iterdir(), key=lambda run: int(run.name.split("_")[1]))
        results = json.loads((newest / "results.json").read_text())["results"]
        assert list(results["test"]) == [task]


def test_the_commands_that_a_fit_ends_with_run(
    lit_mtl: Run,
    fit_arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also where a folder has a blank in its name; another command than fit names none."""
    (tmp_path / "my runs").mkdir()
    logger = "--trainer.logger.init_args.save_dir=my runs"
    assert lit_mtl("fit", *fit_arguments, logger, "--trainer.max_epochs=1") == 0
    printed = dict(
        line.split(": ", 1) for line in capsys.readouterr().out.splitlines() if ": " in line
    )
    program, option, folder = shlex.split(printed["curves"])
    assert (program, option) == ("tensorboard", "--logdir")
    assert list(Path(folder).glob("events.out.tfevents.*"))
    python, dash_m, package, *words = shlex.split(printed["next"])
    assert (python, dash_m, package) == ("python", "-m", "lit_mtl")
    assert lit_mtl(*words) == 0
    assert load("my_encoder").embed(["A fine film."]).shape == (1, 256)
    capsys.readouterr()
    best = str(Path(folder) / "checkpoints" / "best.ckpt")
    assert lit_mtl("test", *fit_arguments, logger, "--ckpt_path", best) == 0
    assert "\nnext:" not in capsys.readouterr().out


@pytest.mark.slow
def test_checkpoints_elsewhere_have_what_was_measured_of_them_beside_them(
    lit_mtl: Run, tiny_bert: Path, tmp_path: Path
) -> None:
    words = [f"--model.backbone={tiny_bert}", f"--data.path={many_sentences(tmp_path / 'many')}"]
    words += ["--trainer.max_epochs=1", "--trainer.precision=32-true", "--data.val_fraction=0.4"]
    words += ["--trainer.accelerator=cpu"]
    for name, more in (("one", []), ("two", ["--trainer.logger=false"])):
        folder = Path("kept", name)
        assert lit_mtl("fit", *words, f"--checkpoint.dirpath={folder}", *more) == 0
        best = folder / "best.ckpt"
        task = load_checkpoint(best).network.tasks["sentiment"]
        assert isinstance(task, Classification)
        assert task.temperature != 1
        assert lit_mtl("export", "--ckpt_path", best, "--output", name) == 0
        assert load(name).network.tasks["sentiment"] == task
        assert "Calibration" in Path(name, "README.md").read_text()
    assert sorted(path.name for path in Path("kept").iterdir()) == ["one", "two"]


def test_a_validation_of_nothing_says_so(
    lit_mtl: Run, fit_arguments: list[str], calibrated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--ckpt_path", str(calibrated), "--trainer.limit_val_batches=0"]
    assert lit_mtl("validate", *fit_arguments, *words) == 0
    assert "nothing was measured" in capsys.readouterr().out


def test_a_model_that_gives_no_numbers_has_results_that_say_so(
    fit_arguments: list[str], tmp_path: Path, lit_mtl: Run
) -> None:
    """The last step has ruined it, so that no gradient could tell."""
    words = [f"--data.path={many_sentences(tmp_path / 'many')}", "--data.val_fraction=0.5"]
    words += ["--trainer.limit_train_batches=1", "--trainer.max_epochs=1", "--model.lr=1e25"]
    assert lit_mtl("fit", *fit_arguments, *words, "--model.warmup_fraction=0") == 0
    found = json.loads((run_folder(tmp_path) / "results.json").read_text())
    for task in ("sentiment", "score"):
        assert found["results"]["val"][task]["loss"] is None
        assert "outputs are no numbers" in found["calibration"][task]["note"]
    assert not any(found.get("confidence_intervals", {}).get("val", {}).values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainer.strategy=ddp_spawn"], "processes run this command anew, such as ddp"),
        (["--trainer.callbacks+=BatchSizeFinder"], "BatchSizeFinder is not supported"),
        (["--trainer.callbacks+=LearningRateFinder"], "LearningRateFinder is not supported"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_trained(
    words: list[str],
    message: str,
    fit_arguments: list[str],
    lit_mtl: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert lit_mtl("fit", *fit_arguments, *words) == 2
    assert message in capsys.readouterr().err


def test_the_curves_are_where_tensorboard_writes(
    fit_arguments: list[str], lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    loggers = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=table"]
    assert lit_mtl("fit", *fit_arguments, *loggers, "--trainer.max_epochs=1") == 0
    assert "curves:" not in capsys.readouterr().out
    both = [
        {"class_path": f"lightning.pytorch.loggers.{name}", "init_args": {"save_dir": folder}}
        for name, folder in (("CSVLogger", "table"), ("TensorBoardLogger", "board"))
    ]
    words = [f"--trainer.logger={json.dumps(both)}", "--trainer.max_epochs=1"]
    assert lit_mtl("fit", *fit_arguments, *words) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("curves:"))
    assert list(Path(line.split()[-1]).glob("events.out.tfevents.*"))
