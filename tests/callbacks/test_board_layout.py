import re
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from lit_mtl.callbacks.board_layout import hyperparameters, result_tags, scalar_layout
from lit_mtl.callbacks.embedding_protection import EmbeddingProtection
from lit_mtl.callbacks.head_init import HeadInit
from lit_mtl.callbacks.projection_init import ProjectionInit
from lit_mtl.callbacks.staged_freezing import StagedFreezing
from lit_mtl.callbacks.weight_averaging import AveragedWeights
from lit_mtl.commands.options import options_of
from lit_mtl.module import MultiTaskModule
from lit_mtl.optim.freezing_plan import Stage
from lit_mtl.tasks.base import Task
from tests.callbacks.test_split_rows import PRICE, TOPIC
from tests.conftest import example_data

TASKS: dict[str, Task] = {"topic": TOPIC, "price": PRICE}

LOGGED = [
    "train/loss",
    "train/topic/loss",
    "train/price/loss",
    "train/topic/weighted_loss",
    "train/topic/loss_weight",
    "train/topic/shared_weight",
    "train/padding",
    "val/selection",
    "val/loss",
    "val/topic/loss",
    "val/topic/weighted_loss",
    "val/topic/accuracy",
    "val/price/pearson",
    "lr/layer_0/decay",
    "lr/heads.topic/decay",
    "stage/index",
    "stage/trainable_parameters",
    "gradient_norm/depth_12",
    "gradient_cosine/topic-price",
    "throughput/sentences_per_second",
    "throughput/tokens_per_second",
    "throughput/fraction_of_matrix_rate",
    "embedding/kept_similarity",
    "embedding/pairs_spearman",
    "train/protection",
    "embedding/mean_cosine",
    "embedding/neighbour_purity/topic",
    "embedding/neighbour_purity/topic_by_chance",
]


def charts(tag: str) -> list[str]:
    """The charts that show a tag, as TensorBoard finds them."""
    return [
        chart
        for category in scalar_layout(TASKS).values()
        for chart, (_, patterns) in category.items()
        if any(re.compile(pattern).match(tag) for pattern in patterns)
    ]


@pytest.mark.parametrize("tag", LOGGED)
def test_what_is_logged_has_one_chart(tag: str) -> None:
    assert len(charts(tag)) == 1


def test_training_stands_beside_validation() -> None:
    for end in ("loss", "topic/loss", "topic/weighted_loss"):
        assert charts(f"train/{end}") == charts(f"val/{end}")
    assert charts("train/topic/loss") != charts("train/price/loss")
    assert not charts("lr/layer_0/no_decay"), "the rate of a depth is shown once"


def test_settings_are_named_as_their_options(tiny_bert: Path) -> None:
    module = MultiTaskModule(str(tiny_bert), lr=3e-4)
    module.build(TASKS)
    stages = [Stage(name="heads", until_epoch=1), Stage(name="all")]
    ingredients = [ProjectionInit("pca"), HeadInit(), EmbeddingProtection(), AveragedWeights(0.9)]
    trainer = Trainer(
        logger=False,
        enable_checkpointing=False,
        max_epochs=7,
        accelerator="cpu",
        callbacks=[StagedFreezing(stages), *ingredients],
    )
    trainer.datamodule = example_data(tiny_bert)  # type: ignore[attr-defined]
    found = hyperparameters(trainer, module)
    assert found["model.lr"] == 3e-4
    assert found["trainer.max_epochs"] == 7
    assert found["data.batch_size"] == 8
    assert found["freezing.stages"] == "heads, all"
    assert "trainer.gradient_clip_val" not in found
    assert found["projection_init.method"] == "pca"
    assert found["averaging.decay"] == 0.9
    off = {"head_init.method", "protection.weight", "model.loss_balancing"}
    assert not off & set(found), "they are off"
    options = {option.name.removeprefix("--") for option in options_of("fit")}
    known = {name for name in found if not name.startswith("tasks.")} - {"processes"}
    assert known <= options
    for balancing in ("uncertainty", "upgrad"):
        other = MultiTaskModule(str(tiny_bert), loss_balancing=balancing)
        other.build(TASKS)
        assert hyperparameters(trainer, other)["model.loss_balancing"] == balancing


def test_runs_are_compared_by_every_metric() -> None:
    tags = result_tags(TASKS, split="test")
    assert tags[0] == "best/selection"
    for name, task in TASKS.items():
        target = torch.zeros(2, dtype=task.target_dtype)
        metrics = task.metrics(torch.zeros(2, task.output_dim), target)
        assert {f"test/{name}/{metric}" for metric in metrics} <= set(tags)
