"""The sum over weights tells encoders apart, and one process' failure is everybody's."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from lightning.pytorch import Trainer

from lit_mtl.callbacks.frozen_prefix import NotCachedError, agreed, sum_of_weights
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.tasks import Regression


def test_the_sum_knows_the_weights_of_the_prefix_and_no_others(tiny_bert: Path) -> None:
    model = MultiTaskModel.from_backbone(str(tiny_bert), tasks={"a": Regression()})
    encoder = model.encoder
    sums = [sum_of_weights(encoder, layers) for layers in (1, 2)]
    assert sums[0] != sums[1]
    with torch.no_grad():
        encoder.projection.weight.add_(1.0)
        next(encoder.backbone._layers[1].parameters())[0, 0] += 1e-6
    assert sum_of_weights(encoder, 1) == sums[0]
    assert sum_of_weights(encoder, 2) != sums[1]


def test_what_another_process_could_not_do_is_not_done() -> None:
    def trainer(others: bool) -> Trainer:
        def decided(own: bool, all: bool) -> bool:
            return own and others

        strategy = SimpleNamespace(reduce_boolean_decision=decided)
        return cast(Trainer, SimpleNamespace(strategy=strategy))

    assert agreed(trainer(True), lambda: 3) == 3
    with pytest.raises(NotCachedError, match="another process"):
        agreed(trainer(False), lambda: 3)

    def full() -> int:
        raise OSError("no space")

    with pytest.raises(NotCachedError, match="no space"):
        agreed(trainer(True), full)
