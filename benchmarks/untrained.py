"""An exported folder of an untrained model, for benchmarks in which only the time matters."""

from pathlib import Path

import torch

from lit_mtl.artifact.bundle import TrainedModel
from lit_mtl.artifact.folder import architecture_of, write_manifest, write_model
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.pretrained import load_tokenizer
from lit_mtl.tasks import Classification, Regression


def write_untrained(backbone: str, folder: Path, *, pretrained: bool) -> None:
    """Write a folder as `export` does, with the heads of a label and of a score.

    Args:
        backbone: hub name, local folder, or `minilm` for the packaged encoder.
        folder: is made.
        pretrained: whether the backbone has its weights; projection and heads are random.
    """
    torch.manual_seed(0)
    network = MultiTaskModel.from_backbone(
        backbone,
        tasks={"label": Classification(labels=("a", "b")), "score": Regression(low=-4, high=4)},
        pretrained=pretrained,
    )
    model = TrainedModel(network, load_tokenizer(backbone))
    folder.mkdir(parents=True)
    tokenizer = write_model(model, folder)
    write_manifest(folder, {"architecture": architecture_of(model), "tokenizer": tokenizer})
