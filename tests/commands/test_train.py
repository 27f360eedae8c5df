"""The Trainer's commands as a user gives them, in this process."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import EXAMPLE_FILES, Run


def weights(run: Path) -> dict[str, torch.Tensor]:
    path = run / "checkpoints" / "last.ckpt"
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


RUNS = Path("lightning_logs/runs")


def test_fit_trains_reports_and_leaves_what_is_needed(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("fit", *fit_arguments) == 0
    printed = capsys.readouterr().out
    for part in ("embeddings/decay", "weight decay", "epoch 2, step", "pearson", "f1_macro"):
        assert part in printed
    run = RUNS / "version_0"
    results = json.loads((run / "results.json").read_text())
    assert set(results["results"]) == {"val", "test"}
    assert results["checkpoint"].endswith("best.ckpt")
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert list(run.glob("events.out.tfevents.*"))


def test_a_run_that_ends_before_its_first_validation_is_kept(
    lit_mtl: Run, fit_arguments: list[str]
) -> None:
    assert lit_mtl("fit", *fit_arguments, "--trainer.max_steps=1") == 0
    results = json.loads((RUNS / "version_0" / "results.json").read_text())
    assert Path(results["checkpoint"]).name == "last.ckpt"
    assert torch.load(results["checkpoint"], weights_only=True)["global_step"] == 1


def test_the_saved_config_reproduces_its_run(lit_mtl: Run, fit_arguments: list[str]) -> None:
    assert lit_mtl("fit", *fit_arguments, "--tasks.score.weight=0.5") == 0
    assert lit_mtl("fit", "--config", RUNS / "version_0" / "config.yaml") == 0
    assert lit_mtl("fit", *fit_arguments, "--seed_everything=1") == 0
    one, two, other = (weights(RUNS / f"version_{number}") for number in range(3))
    assert same(one, two)
    assert not same(one, other)


def test_test_and_validate_give_the_numbers_that_fit_reported(
    lit_mtl: Run, fit_arguments: list[str], tmp_path: Path
) -> None:
    assert lit_mtl("fit", *fit_arguments) == 0
    reported = json.loads((RUNS / "version_0" / "results.json").read_text())["results"]
    best = RUNS / "version_0" / "checkpoints" / "best.ckpt"
    without_backbone = [word for word in fit_arguments if "max_epochs" not in word]
    for number, (command, split) in enumerate([("validate", "val"), ("test", "test")], start=1):
        gone = "--model.backbone=/nowhere/at/all"
        assert lit_mtl(command, *without_backbone, gone, "--ckpt_path", best) == 0
        found = json.loads((RUNS / f"version_{number}" / "results.json").read_text())["results"]
        assert found == {split: reported[split]}


def test_predict_writes_one_line_a_sentence_in_order(
    lit_mtl: Run, fit_arguments: list[str]
) -> None:
    assert lit_mtl("fit", *fit_arguments) == 0
    best = RUNS / "version_0" / "checkpoints" / "best.ckpt"
    texts = ["short", "a much longer sentence than the first one", "middle sized text"]
    Path("new.txt").write_text("\n".join(texts))
    arguments = [
        "--ckpt_path",
        best,
        "--data.predict_path=new.txt",
        "--predictions.output=out.jsonl",
    ]
    assert lit_mtl("predict", "--trainer.enable_progress_bar=false", *arguments) == 0
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == texts
    assert all(row["sentiment"]["label"] in ("negative", "positive") for row in rows)
    assert all(-4 <= row["score"]["score"] <= 4 for row in rows)


def test_groups_shows_the_table_without_training(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("groups", *fit_arguments) == 0
    printed = capsys.readouterr().out
    assert [word for word in printed.splitlines() if word.startswith("layer_1/no_decay")]
    assert "sentences" in printed
    assert not list(Path("lightning_logs").glob("**/*.ckpt"))


def config_of(
    lit_mtl: Run, capsys: pytest.CaptureFixture[str], *words: str | Path
) -> dict[str, object]:
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        lit_mtl("fit", *words, "--print_config")
    config: dict[str, object] = yaml.safe_load(capsys.readouterr().out)
    return config


def test_later_configs_environment_and_options_override_in_this_order(
    lit_mtl: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("base.yaml").write_text("model: {lr: 1.0e-3, pooling: max}\ntrainer: {max_epochs: 7}\n")
    Path("more.yaml").write_text("model: {lr: 2.0e-3}\n")
    both = ["--config", "base.yaml", "--config", "more.yaml"]
    model = config_of(lit_mtl, capsys, *both)["model"]
    assert isinstance(model, dict)
    assert (model["lr"], model["pooling"]) == (2e-3, "max")
    monkeypatch.setenv("LIT_MTL_FIT__MODEL__EMBEDDING_DIM", "64")
    model = config_of(lit_mtl, capsys, *both, "--model.lr=3e-3")["model"]
    assert isinstance(model, dict)
    assert (model["lr"], model["embedding_dim"]) == (3e-3, 64)


@pytest.mark.parametrize(
    "words",
    [
        ["--model.nonsense=1"],
        ["--model.lr=fast"],
        ["--model.pooling=median"],
        ["--tasks.score.lo=1"],
        ["--tasks", "{x: {kind: ranking}}"],
        ["--data.corpus=books"],
    ],
)
def test_unknown_keys_and_values_are_refused(
    lit_mtl: Run, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        lit_mtl("fit", *words)
    assert words[0].split("=")[0].split(".")[-1].strip("-") in capsys.readouterr().err


def test_an_unknown_key_in_a_config_file_is_refused(lit_mtl: Run) -> None:
    Path("bad.yaml").write_text("model: {learning_rate: 1}\n")
    with pytest.raises(SystemExit, match="2"):
        lit_mtl("fit", "--config", "bad.yaml")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--data.path=nowhere"], 66, "nowhere"),
        (["--model.lr=-1"], 2, "`lr`"),
        (["--model.backbone=/nowhere/at/all"], 66, "/nowhere/at/all"),
        (["--ckpt_path=nowhere.ckpt"], 66, "nowhere.ckpt"),
        (["--tasks.score.high=1"], 65, "scores.tsv:2"),
    ],
)
def test_an_expected_failure_has_its_exit_code_and_one_message(
    lit_mtl: Run,
    fit_arguments: list[str],
    words: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert lit_mtl("fit", *fit_arguments, *words) == code
    assert message in capsys.readouterr().err


def test_predict_needs_a_checkpoint(lit_mtl: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert lit_mtl("predict", "--data.predict_path=x.txt") == 2
    assert "--ckpt_path" in capsys.readouterr().err


def test_a_checkpoint_cannot_name_a_class_to_import(
    lit_mtl: Run, fit_arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lit_mtl("fit", *fit_arguments) == 0
    best = RUNS / "version_0" / "checkpoints" / "best.ckpt"
    marker = tmp_path / "marker"
    (tmp_path / "hostile_module.py").write_text(f"open({str(marker)!r}, 'w')\nclass X: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    content = torch.load(best, weights_only=True)
    content["hyper_parameters"] = {
        "_class_path": "hostile_module.X",
        "lr": {"class_path": "hostile_module.X"},
    }
    torch.save(content, best)
    assert lit_mtl("test", *fit_arguments, "--ckpt_path", best) == 0
    assert not marker.exists()


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
