"""Configs, options, environment and their mistakes, as a user gives them, in this process."""

from pathlib import Path

import pytest
import torch
import yaml

from lit_mtl.artifact.bundle import load_checkpoint
from tests.conftest import Run
from tests.runs import TRACE


def weights(run: Path) -> dict[str, torch.Tensor]:
    path = run / "checkpoints" / "last.ckpt"
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


RUNS = Path("lightning_logs/runs")
STRATEGIES = "lightning.pytorch.strategies"
STOPPING = [
    "--trainer.callbacks+=lightning.pytorch.callbacks.EarlyStopping",
    "--trainer.callbacks.monitor=val/los",
]

IDLE = ["--tasks.score.weight=0", "--tasks.sentiment.weight=0"]


TASK_MISTAKES = [
    ("{kind: classification, class_weight: balanced}", "no field 'class_weight'. Its fields: kind"),
    ("{kind: regression, loss: cubic}", "['squared', 'absolute', 'huber']. Got value: cubic"),
    ("{kind: ordinal, low: one}", "Expected a <class 'int'>"),
    ("{kind: ranking}", "one of classification, multilabel, regression, regression_with_spread"),
]


@pytest.mark.slow
def test_length_one_reaches_the_embedding(lit_mtl: Run, fit_arguments: list[str]) -> None:
    for number, flag in enumerate(("true", "false")):
        assert lit_mtl("fit", *fit_arguments, f"--model.normalize={flag}") == 0
        best = RUNS / f"version_{number}" / "checkpoints" / "best.ckpt"
        norms = load_checkpoint(best).embed(["one", "two three"]).norm(dim=-1)
        assert torch.allclose(norms, torch.ones(2), atol=1e-5) == (flag == "true")


@pytest.mark.slow
def test_a_seed_from_elsewhere_is_the_one_of_the_saved_config(
    lit_mtl: Run, fit_arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")  # where Lightning looks for one
    assert lit_mtl("fit", *fit_arguments, "--seed_everything=true") == 0
    monkeypatch.delenv("PL_GLOBAL_SEED")
    config = yaml.safe_load((RUNS / "version_0" / "config.yaml").read_text())
    assert config["seed_everything"] == 7
    assert lit_mtl("fit", "--config", RUNS / "version_0" / "config.yaml") == 0
    assert same(weights(RUNS / "version_0"), weights(RUNS / "version_1"))


def test_the_saved_config_reproduces_its_run(lit_mtl: Run, fit_arguments: list[str]) -> None:
    assert lit_mtl("fit", *fit_arguments, "--tasks.score.weight=0.5") == 0
    assert lit_mtl("fit", "--config", RUNS / "version_0" / "config.yaml") == 0
    assert lit_mtl("fit", *fit_arguments, "--seed_everything=1") == 0
    one, two, other = (weights(RUNS / f"version_{number}") for number in range(3))
    assert same(one, two)
    assert not same(one, other)


@pytest.mark.slow
def test_measuring_another_model_than_the_checkpoints_is_refused(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line and in a config; what nobody asks for comes from the checkpoint."""
    assert lit_mtl("fit", *fit_arguments, "--model.pooling=max") == 0
    best = RUNS / "version_0" / "checkpoints" / "best.ckpt"
    data = [word for word in fit_arguments if word.startswith("--data")]
    Path("other.yaml").write_text("model: {pooling: cls}\n")
    for command in ("validate", "test"):
        for words, message in (
            (
                ["--model.pooling=mean"],
                "pooling='max'; `model.pooling` asks for 'mean'. Set it to 'max'",
            ),
            (["--config=other.yaml"], "pooling='max'; `model.pooling` asks for 'cls'"),
            (["--model.backbone=minilm"], "`model.backbone` asks for 'minilm'"),
            (["--model.embedding_dim=8"], "embedding_dim=256; `model.embedding_dim` asks for 8"),
        ):
            capsys.readouterr()
            assert lit_mtl(command, *data, *words, "--ckpt_path", best) == 2
            assert message in capsys.readouterr().err
    assert lit_mtl("test", *data, "--model.pooling=max", "--ckpt_path", best) == 0
    assert lit_mtl("test", *data, "--ckpt_path", best) == 0


def config_of(
    lit_mtl: Run, capsys: pytest.CaptureFixture[str], *words: str | Path
) -> dict[str, object]:
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        lit_mtl("fit", *words, "--print_config")
    config: dict[str, object] = yaml.safe_load(capsys.readouterr().out)
    return config


def test_options_override_configs_and_configs_the_environment(
    lit_mtl: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("base.yaml").write_text("model: {lr: 1.0e-3, pooling: max}\ntrainer: {max_epochs: 7}\n")
    Path("more.yaml").write_text("model: {lr: 2.0e-3}\n")
    both = ["--config", "base.yaml", "--config", "more.yaml"]
    model = config_of(lit_mtl, capsys, *both)["model"]
    assert isinstance(model, dict)
    assert (model["lr"], model["pooling"]) == (2e-3, "max")
    monkeypatch.setenv("LIT_MTL_FIT__MODEL__EMBEDDING_DIM", "64")
    monkeypatch.setenv("LIT_MTL_FIT__MODEL__POOLING", "cls")
    model = config_of(lit_mtl, capsys, *both, "--model.lr=3e-3")["model"]
    assert isinstance(model, dict)
    assert (model["lr"], model["embedding_dim"], model["pooling"]) == (3e-3, 64, "max")


def test_an_unknown_environment_variable_is_refused(
    lit_mtl: Run,
    fit_arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LIT_MTL_FIT__MODEL__POOLIN", "cls")
    assert lit_mtl("fit", *fit_arguments) == 2
    assert "LIT_MTL_FIT__MODEL__POOLIN" in capsys.readouterr().err


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


@pytest.mark.parametrize("name", ["fit", "plan"])
def test_a_mistake_is_told_without_a_screen_of_options(
    lit_mtl: Run, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        lit_mtl(name, "--model.lrr=1")
    usage, tip, error, nearest = capsys.readouterr().err.splitlines()
    assert usage == f"usage: python -m lit_mtl {name} [options]"
    assert tip.endswith(f" python -m lit_mtl {name} --help")
    assert "--model.lrr=1" in error
    assert "--model.lr " in nearest


@pytest.mark.parametrize(("task", "message"), TASK_MISTAKES)
def test_a_mistake_in_a_task_is_explained_for_its_kind_alone(
    lit_mtl: Run, task: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.yaml").write_text(f"tasks: {{mine: {task}}}\n")
    for words in (["--config", "bad.yaml"], ["--tasks", f"{{mine: {task}}}"]):
        with pytest.raises(SystemExit, match="2"):
            lit_mtl("fit", *words)
        error = capsys.readouterr().err.partition("error: ")[2]
        assert message in error
        assert "Multilabel" not in error


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
        (["--model.head_dropout=1.5"], 2, "`head_dropout`"),
        (["--trainer.enable_checkpointing=false"], 2, "enable_checkpointing"),
        (["--trainer.overfit_batches=1"], 2, "limit_train_batches"),
        (["--trainer.max_epochs=-1"], 2, "max_epochs"),
        (["--trainer.max_epochs=0"], 2, "`trainer.max_epochs`"),
        (["--trainer.accumulate_grad_batches=0"], 2, "`trainer.accumulate_grad_batches`"),
        (["--trainer.val_check_interval=0"], 2, "`trainer.val_check_interval`"),
        (["--trainer.val_check_interval=1000"], 2, "must be less than or equal"),
        (STOPPING, 2, "EarlyStopping: expected a logged metric as `monitor`, but got 'val/los'"),
        # with a callback of the user's own, which may log anything, Lightning finds it later
        ([*STOPPING, TRACE], 2, "Early stopping conditioned on metric `val/los`"),
        (["--trainer.limit_train_batches=0"], 2, "`trainer.limit_train_batches` to leave a batch"),
        (["--trainer.max_steps=0"], 2, "`trainer.limit_train_batches` to leave a batch"),
        (IDLE, 2, "all tasks (sentiment, score) have a weight of 0, so nothing would be learned"),
        (["--data.max_length=1"], 2, "`max_length`"),
        (["--tasks", "{type: {kind: classification}}"], 2, "'type'"),
        (["--trainer.devices=0"], 2, "devices"),
        (["--trainer.strategy=fsdp2"], 2, "strategy='fsdp2'"),
        ([f"--trainer.strategy.class_path={STRATEGIES}.FSDPStrategy"], 2, "`fsdp` requires a GPU"),
        (["--tasks.score.low=5"], 2, "low=5.0, high=4.0"),
        (["--data.path=null", "--data.sources={one: {path: x, weight: -1}}"], 2, "source 'one'"),
        (["--data.path=null", "--data.sources={one: {text: x}}"], 2, "source 'one'"),
        (["--data.sources={one: {path: x}}"], 2, "but got both"),
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


@pytest.mark.parametrize("command", ["validate", "test"])
def test_measuring_and_predicting_need_a_checkpoint(
    lit_mtl: Run, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl(command, "--data.path=x") == 2
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
    hostile = tmp_path / "hostile.ckpt"  # without the manifest, which would tell
    torch.save(content, hostile)
    assert lit_mtl("test", *fit_arguments, "--ckpt_path", hostile) == 0
    assert not marker.exists()


def test_a_checkpoint_callback_of_the_users_stands_beside_the_own(
    lit_mtl: Run, fit_arguments: list[str]
) -> None:
    words = ["--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint"]
    words += ["--trainer.callbacks.dirpath=theirs", "--trainer.log_every_n_steps=0"]
    assert lit_mtl("fit", *fit_arguments, *words) == 0
    assert list(Path("theirs").iterdir())
    assert (RUNS / "version_0" / "results.json").is_file()
