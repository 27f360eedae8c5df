from pathlib import Path

import pytest
import torch

from lit_mtl.errors import ConfigError
from lit_mtl.model.multitask import Architecture, MultiTaskModel
from lit_mtl.optim.param_groups import Rates, build_param_groups
from lit_mtl.tasks import Classification, Regression
from lit_mtl.tasks.base import Task
from tests.model.families import FAMILIES, LAYERS, family_config

TASKS: dict[str, Task] = {
    "sentiment": Classification(labels=("negative", "positive")),
    "topic": Classification(labels=("a", "b", "c")),
    "score": Regression(low=-4, high=4, center=0.1, scale=1.5),
}


def model(family: str = "bert") -> MultiTaskModel:
    torch.manual_seed(0)
    return MultiTaskModel(family_config(family), tasks=TASKS, architecture=Architecture())


IDS = torch.arange(5, 25).view(2, 10)
MASK = torch.ones_like(IDS)


def test_one_pass_gives_the_embedding_and_every_head() -> None:
    output = model()(IDS, MASK)
    assert output.sentence_embedding.shape == (2, 256)
    shapes = {name: tuple(head.shape) for name, head in output.heads.items()}
    assert shapes == {"sentiment": (2, 2), "topic": (2, 3), "score": (2, 1)}


@pytest.mark.parametrize("layers", [1, LAYERS])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_output_goes_on_from_a_prefix(family: str, layers: int) -> None:
    network = model(family).double().eval()
    with torch.no_grad():
        prefix = network.encoder.prefix(IDS, MASK, layers=layers)
        found = network.from_prefix(prefix, MASK, layers=layers)
        torch.testing.assert_close(found, network(IDS, MASK), atol=1e-12, rtol=0)
        assert not torch.allclose(
            network.from_prefix(prefix.flip(-1), MASK, layers=layers).heads["topic"],
            found.heads["topic"],
        )


def test_the_encoder_runs_once_for_all_heads() -> None:
    network, calls = model(), []
    network.encoder.backbone.register_forward_hook(lambda *_: calls.append(1))
    network(IDS, MASK)
    assert len(calls) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_groups_cover_every_family(family: str) -> None:
    network = model(family)
    groups = build_param_groups(
        network, places=network.places(), rates=Rates(lr=1.0, layer_decay=0.5)
    )
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    rates = {group["name"].split("/")[0]: group["lr"] for group in groups}
    expected = {f"heads.{task}": 1.0 for task in TASKS} | {"projection": 1.0, "embeddings": 0.0625}
    assert rates == expected | {f"layer_{layer}": 0.5 ** (3 - layer) for layer in range(3)}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_is_rebuilt_from_its_spec_and_its_weights(family: str) -> None:
    network = model(family).eval()
    rebuilt = MultiTaskModel.from_spec(network.spec()).eval()
    rebuilt.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(
            network(IDS, MASK).sentence_embedding, rebuilt(IDS, MASK).sentence_embedding
        )
    assert rebuilt.tasks == network.tasks
    assert rebuilt.spec() == network.spec()


def test_weights_come_from_the_backbone_unless_random_ones_are_asked_for(tiny_bert: Path) -> None:
    one, two, random = (
        MultiTaskModel.from_backbone(str(tiny_bert), tasks=TASKS, pretrained=pretrained)
        for pretrained in (True, True, False)
    )
    name = "embeddings.word_embeddings.weight"
    weights = [
        dict(m.encoder.backbone.transformer.named_parameters())[name] for m in (one, two, random)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_no_task_a_bad_name_and_another_format_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        MultiTaskModel(family_config("bert"), tasks={}, architecture=Architecture())
    for name in ("my task", "type", "keys"):
        bad: dict[str, Task] = {name: TASKS["score"]}
        with pytest.raises(ConfigError, match=f"'{name}'"):
            MultiTaskModel(family_config("bert"), tasks=bad, architecture=Architecture())
    with pytest.raises(ConfigError, match="embedding_dim"):
        Architecture(embedding_dim=0)
    with pytest.raises(ConfigError, match="head_dropout"):
        Architecture(head_dropout=1.5)
    with pytest.raises(ConfigError, match="format"):
        MultiTaskModel.from_spec({**model().spec(), "format": 99})


@pytest.mark.parametrize("family", FAMILIES)
def test_the_uppermost_shared_parameters_are_those_that_learn(family: str) -> None:
    network = model(family)

    def found() -> set[str]:
        chosen = {id(parameter) for parameter in network.uppermost_shared()}
        return {name for name, value in network.named_parameters() if id(value) in chosen}

    projection = {"encoder.projection.weight", "encoder.projection.bias"}
    assert found() == projection
    network.encoder.projection.requires_grad_(False)
    top = {name for name, place in network.places().items() if place.part == f"layer_{LAYERS - 1}"}
    assert found() == top
    network.encoder.requires_grad_(False)
    assert found() == set()
