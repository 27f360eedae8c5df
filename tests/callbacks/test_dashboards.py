"""The dashboards of whole runs; what a browser shows of them is in `tests/test_tensorboard.py`."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from lit_mtl.callbacks.dashboards import Dashboards
from lit_mtl.callbacks.projector import MOMENTS
from lit_mtl.callbacks.split_board import SplitBoard
from lit_mtl.errors import ConfigError
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.module import MultiTaskModule
from tests.conftest import Run, example_data
from tests.runs import differing, last_state, run_folder, scalars_of
from tests.test_ddp import TWO
from tests.test_ddp import fit as fit_processes
from tests.test_every_kind import COLUMNS, config, reviews, table, words
from tests.test_module import trainer

OWN = ("embedding/", "gradient_norm/", "gradient_cosine/", "best/")


def tags(run: Path) -> dict[str, Any]:
    events = EventAccumulator(str(run))
    events.Reload()
    found: dict[str, Any] = events.Tags()
    return found


def hparams_of(run: Path) -> tuple[Mapping[str, Any], list[str], int]:
    """Settings, tags of the metrics, and status, as TensorBoard compares runs by them."""
    events = EventAccumulator(str(run))
    events.Reload()
    content = events.PluginTagToContent(metadata.PLUGIN_NAME)
    start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
    end = metadata.parse_session_end_info_plugin_data(content[metadata.SESSION_END_INFO_TAG])
    experiment = metadata.parse_experiment_plugin_data(content[metadata.EXPERIMENT_TAG])
    values = {
        name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()
    }
    return values, [info.name.tag for info in experiment.metric_infos], end.status


class Norms(Callback):
    """The norm of all gradients before each step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        self.found.append(float(get_total_norm(gradients)))


def fit(
    folder: Path,
    backbone: Path,
    *callbacks: Callback,
    data: dict[str, Any] | None = None,
    **options: Any,
) -> MultiTaskModule:
    """An epoch of two steps and more on the example sentences, without the command line."""
    logger = TensorBoardLogger(str(folder), name="", version="run", default_hp_metric=False)
    module = MultiTaskModule(str(backbone), lr=1e-3)
    settings = {"max_epochs": 1, "log_every_n_steps": 1, "logger": logger, **options}
    datamodule = example_data(backbone, **(data or {}))
    trainer(folder, *callbacks, **settings).fit(module, datamodule=datamodule)
    return module


def test_a_weighted_loss_is_no_number_where_the_loss_is_none(
    tiny_bert: Path, tmp_path: Path
) -> None:
    """Steps of one sentence, which one of two tasks has labelled; the tasks' weights are 1."""
    table = tmp_path / "films.csv"
    rows = [f"film {n},{n % 4}," if n % 2 else f"film {n},,{'ab'[n // 2 % 2]}" for n in range(40)]
    table.write_text("\n".join(["text,score,sentiment", *rows]), encoding="utf-8")
    data = {"path": table, "batch_size": 1}
    fit(tmp_path, tiny_bert, Dashboards(), data=data, limit_val_batches=0)
    scalars = scalars_of(tmp_path / "run")
    for task in ("sentiment", "score"):
        losses = scalars[f"train/{task}/loss"]
        assert {math.isnan(value) for _, value in losses} == {True, False}
        assert scalars[f"train/{task}/weighted_loss"] == losses


def test_a_run_is_the_same_to_the_bit_with_and_without(
    fit_arguments: list[str], tmp_path: Path, lit_mtl: Run
) -> None:
    arguments = [*fit_arguments, "--trainer.max_epochs=1", "--trainer.gradient_clip_val=0.5"]
    assert lit_mtl("fit", *arguments) == 0
    assert lit_mtl("fit", *arguments, "--dashboards.enabled=false") == 0
    shown, plain = run_folder(tmp_path), run_folder(tmp_path, 1)
    differences = differing(last_state(shown), last_state(plain))
    assert [key for key in differences if not key.startswith("/callbacks/Dashboards/")] == []
    one, other = (
        {tag: points for tag, points in scalars_of(run).items() if "throughput/" not in tag}
        for run in (shown, plain)
    )
    assert {tag: one[tag] for tag in other} == other
    more = set(one) - set(other)
    assert 0 < one["embedding/kept_similarity"][-1][1] <= 1
    assert {tag for tag in more if not tag.startswith(OWN)} == {
        f"{split}/{task}/weighted_loss"
        for split in ("train", "val")
        for task in ("sentiment", "score")
    }
    assert not any(tags(plain)[kind] for kind in ("images", "tensors"))
    assert not (plain / "projector").exists()

    results = json.loads((shown / "results.json").read_text())["results"]
    values, metrics, status = hparams_of(shown)
    assert values["trainer.gradient_clip_val"] == 0.5
    assert status == 1, "it has ended well"
    assert "test/score/pearson" in metrics
    assert one["best/score/pearson"][-1][1] == pytest.approx(results["val"]["score"]["pearson"])
    assert one["test/score/mae"][-1][1] == pytest.approx(results["test"]["score"]["mae"])


@pytest.mark.parametrize(
    ("options", "drawn"),
    [
        ({"max_epochs": 3}, [1, 2, 3]),
        ({"max_epochs": 20}, [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),
        ({"max_epochs": 13}, [2, 3, 4, 6, 7, 8, 10, 11, 12, 13]),
        ({"max_epochs": 20, "check_val_every_n_epoch": 3}, [3, 6, 9, 12, 15, 18]),
        # of two steps each: a validation every third epoch
        (
            {"max_epochs": 14, "check_val_every_n_epoch": None, "val_check_interval": 6},
            [3, 6, 9, 12],
        ),
        ({"max_epochs": -1, "max_steps": 24}, list(range(1, 13))),
    ],
)
def test_at_most_ten_validations_are_drawn_evenly_to_the_last(
    options: dict[str, Any], drawn: list[int], tiny_bert: Path, tmp_path: Path
) -> None:
    """TensorBoard shows ten pictures of a tag; the embedding is measured at each validation."""
    fit(tmp_path, tiny_bert, Dashboards(), limit_train_batches=2, **options)
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0})
    events.Reload()
    shown = [event.step for event in events.Images("val/sentiment/reliability")]
    assert shown == [2 * epoch for epoch in drawn]
    measured = [event.step for event in events.Scalars("embedding/mean_cosine")]
    assert len(measured) == len(events.Scalars("val/selection"))


def test_every_kind_of_task_is_shown(steady_bert: Path, tmp_path: Path, lit_mtl: Run) -> None:
    table(tmp_path / "reviews.csv", reviews())
    arguments = ["--config", config(tmp_path), *words(steady_bert), "--trainer.max_epochs=1"]
    assert lit_mtl("fit", *arguments) == 0
    found = tags(run_folder(tmp_path))
    for moment in ("val", "best"):
        for task in COLUMNS[1:]:
            assert f"{moment}/{task}/reliability" in found["images"]
            assert f"{moment}/{task}/errors_by_group" in found["images"]
            assert f"{moment}/{task}/worst_errors/text_summary" in found["tensors"]
    pairs = {tag for tag in found["scalars"] if tag.startswith("gradient_cosine/")}
    assert "gradient_cosine/topic-aspects" in pairs
    header = (run_folder(tmp_path) / "projector" / "after_rows.tsv").read_text().splitlines()[0]
    assert header.count(" predicted") == len(COLUMNS) - 1


def test_norms_by_depth_make_the_whole_norm_before_clipping(
    tiny_bert: Path, tmp_path: Path
) -> None:
    norms = Norms()
    fit(tmp_path, tiny_bert, norms, Dashboards(every_n_steps=2), gradient_clip_val=1e-3)
    logged = {
        tag: values
        for tag, values in scalars_of(tmp_path / "run").items()
        if tag.startswith("gradient_norm/")
    }
    assert set(logged) == {f"gradient_norm/depth_{depth}" for depth in range(4)}
    assert [step for step, _ in logged["gradient_norm/depth_0"]] == list(
        range(1, len(norms.found), 2)
    )
    for place, step in enumerate(range(1, len(norms.found), 2)):
        squares = [values[place][1] ** 2 for values in logged.values()]
        assert math.sqrt(sum(squares)) == pytest.approx(norms.found[step], rel=1e-5)


def test_what_is_frozen_is_not_logged_and_nothing_breaks(
    fit_arguments: list[str], tmp_path: Path, lit_mtl: Run
) -> None:
    stages = '[{"name": "heads", "freeze": ["backbone", "projection"]}]'
    words = [*fit_arguments, f"--freezing.stages={stages}", "--trainer.max_epochs=1"]
    assert lit_mtl("fit", *words) == 0
    found = scalars_of(run_folder(tmp_path))
    assert [tag for tag in found if tag.startswith("gradient_")] == ["gradient_norm/depth_0"]
    assert hparams_of(run_folder(tmp_path))[0]["freezing.stages"] == "heads"


@pytest.mark.parametrize("sample_rows", [0, 3])
def test_no_batch_is_run_twice(
    sample_rows: int, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pass a batch, and one over the sample before the first step if there is to be one."""
    rows: list[int] = []
    forward = MultiTaskModel.forward

    def counting(self: MultiTaskModel, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        rows.append(len(ids))
        return forward(self, ids, mask)

    monkeypatch.setattr(MultiTaskModel, "forward", counting)
    fit(tmp_path, tiny_bert, num_sanity_val_steps=0)
    plain, rows[:] = list(rows), []
    fit(tmp_path, tiny_bert, Dashboards(sample_rows=sample_rows), num_sanity_val_steps=0)
    assert rows == [sample_rows] * bool(sample_rows) + plain
    points = tmp_path / "run" / "projector" / "after.tsv"
    assert points.exists() == bool(sample_rows)


def test_other_loggers_are_left_alone(tiny_bert: Path, tmp_path: Path) -> None:
    fit(tmp_path, tiny_bert, Dashboards(), logger=CSVLogger(str(tmp_path), name="", version="run"))
    assert not (tmp_path / "run" / "projector").exists()
    assert "gradient" not in (tmp_path / "run" / "metrics.csv").read_text()


def test_a_picture_that_fails_ends_no_run(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(SplitBoard, "show", fail)
    with pytest.warns(UserWarning, match="a validation could not be shown .*no space left"):
        fit(tmp_path, tiny_bert, Dashboards())
    assert "val/selection" in scalars_of(tmp_path / "run")


@pytest.mark.slow
def test_two_processes_show_the_run_that_one_does(
    fit_arguments: list[str], steady_bert: Path, tmp_path: Path
) -> None:
    """With the embedding measured on the validation sentences of both."""
    words = [*fit_arguments, f"--model.backbone={steady_bert}", "--model.head_dropout=0"]
    words.append("--trainer.precision=64-true")
    shown = []
    for name, more in (("one", ["--data.batch_size=8"]), ("two", [*TWO, "--data.batch_size=4"])):
        _, printed = fit_processes(tmp_path / name, words, *more)
        assert "could not be shown" not in printed
        run = run_folder(tmp_path / name)
        assert "val/sentiment/confusion_matrix" in tags(run)["images"]
        curves = {tag: points for tag, points in scalars_of(run).items() if "embedding/" in tag}
        results = json.loads((run / "results.json").read_text())["embedding"]
        places = [(run / "projector" / f"{moment}.tsv").read_text() for moment in MOMENTS]
        shown.append((curves, results, places))
    one, two = shown
    assert one[0].keys() == two[0].keys()
    assert len(one[0]) >= 3
    for tag, points in one[0].items():
        assert dict(two[0][tag]) == pytest.approx(dict(points), abs=1e-5), tag
    assert two[1] == pytest.approx(one[1], abs=1e-5)
    assert two[2] == one[2]


@pytest.mark.parametrize("options", [{"every_n_steps": 0}, {"sample_rows": -1}])
def test_numbers_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=name):
        Dashboards(**options)


def test_the_gradients_of_a_step_of_several_batches_are_looked_at_once(
    tiny_bert: Path, tmp_path: Path
) -> None:
    few = {"limit_train_batches": 4, "accumulate_grad_batches": 2, "max_epochs": 2}
    fit(tmp_path, tiny_bert, Dashboards(), data={"batch_size": 4}, **few)
    found = scalars_of(tmp_path / "run")
    for tag in ("train/score/weighted_loss", "gradient_cosine/sentiment-score"):
        assert [step for step, _ in found[tag]] == [0, 1, 2, 3]
