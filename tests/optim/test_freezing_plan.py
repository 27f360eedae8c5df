from fractions import Fraction
from typing import Any

import pytest

from lit_mtl.errors import ConfigError
from lit_mtl.optim.freezing_plan import (
    Plateau,
    Stage,
    frozen_prefix,
    frozen_sets,
    hole,
    relative_cost,
    starved,
)
from lit_mtl.optim.selectors import select
from tests.optim.test_selectors import PLACES

TASKS = ["score", "scores"]


def stages(*specs: dict[str, Any]) -> list[Stage]:
    return [Stage(**{"name": f"stage{number}", **spec}) for number, spec in enumerate(specs)]


def resolve(*specs: dict[str, Any]) -> list[set[str]]:
    return frozen_sets(stages(*specs), places=PLACES, tasks=TASKS)


def test_a_plan_resolves_to_the_absolute_frozen_set_of_each_stage() -> None:
    frozen = resolve(
        {"freeze": ["backbone"], "until_epoch": 1},
        {"freeze": ["heads.score", "backbone.embeddings"], "until_step": 100},
        {},
    )
    expected = [select(["backbone"], PLACES), {"heads.score.w", "emb.weight"}, set()]
    assert frozen == expected
    assert resolve() == []


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([{}, {}], "'stage0': expected exactly one of .* found none"),
        ([{"until_epoch": 1, "until_step": 2}, {}], "'stage0': .*found .*until_epoch.*until_step"),
        ([{"until_epoch": 1}], "'stage0': the last stage ends with the training"),
        ([{"until_epoch": 2}, {"until_epoch": 2}, {}], "'stage1': .*above 2, where Stage 'stage0'"),
        ([{"until_step": 9}, {"until_epoch": 2}, {"until_step": 5}, {}], "'stage2': .*above 9"),
        ([{"name": "a", "until_epoch": 1}, {"name": "a"}], "different names"),
        ([{"warmup_steps": 3}], "'stage0': .*`warmup_steps` in the first stage"),
        ([{"freeze": ["backbon"]}], "'stage0': The selector 'backbon' selects nothing"),
        ([{"loss_weights": {"mood": 1.0}}], r"'stage0': .*\['score', 'scores'\]; found \['mood'\]"),
        ([{"loss_weights": {"score": 0.0, "scores": 0.0}}], "nothing would be learned"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused_by_stage(
    specs: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(*specs)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("until_epoch", 0),
        ("until_step", 0),
        ("warmup_steps", -1),
        ("lr_scale", 0.0),
        ("loss_weights", {"score": -1.0}),
    ],
)
def test_wrong_numbers_are_refused_by_stage_and_field(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"'probe'.*`{field}`"):
        stages({"name": "probe", field: value})
    with pytest.raises(ConfigError, match="patience"):
        Plateau(patience=0)


def test_stages_that_the_training_does_not_reach_are_found() -> None:
    plan = stages({"until_epoch": 2}, {"until_plateau": Plateau()}, {"until_step": 25}, {})
    for total, late in ((30, 0), (26, 0), (25, 1), (20, 2), (10, 2)):
        found = starved(plan, steps_an_epoch=10, total_steps=total)
        assert found == [plan[1], plan[3]][2 - late :], total


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ([{"until_epoch": 2}, {"until_step": 20}], "'stage1': ends at step 20, not behind step 20"),
        ([{"until_step": 25}, {"until_epoch": 2}], "'stage1': ends at step 20, .*step 25, where"),
    ],
)
def test_a_stage_that_would_end_before_it_begins_is_refused(
    ends: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        starved(stages(*ends, {}), steps_an_epoch=10, total_steps=99)


@pytest.mark.parametrize(
    ("selectors", "units"),
    [
        ([], 36),
        (["backbone.embeddings", "backbone.layers[:8]"], 20),
        (["backbone.layers[:8]"], 28),
        (["backbone"], 12),
        (["all"], 12),
        (["heads", "projection"], 36),
        (["backbone.embeddings"], 36),
    ],
)
def test_the_expected_cost_counts_forward_and_backward_passes(
    selectors: list[str], units: int
) -> None:
    found = relative_cost(select(selectors, PLACES), PLACES)
    assert Fraction(found).limit_denominator(1000) == Fraction(units, 36)


def test_a_trainable_part_below_a_frozen_one_is_found() -> None:
    assert hole(select(["backbone.layers[:8]"], PLACES), PLACES) == "embeddings"
    assert hole(select(["backbone.layers[3]"], PLACES), PLACES) == "layer_2"
    for selectors in (
        [],
        ["backbone.embeddings"],
        ["backbone"],
        ["backbone.embeddings", "backbone.layers[:8]"],
    ):
        assert hole(select(selectors, PLACES), PLACES) is None


@pytest.mark.parametrize(
    ("freeze", "layers"),
    [
        ([], None),
        (["backbone.layers"], None),
        (["backbone.embeddings"], 0),
        (["backbone.embeddings", "backbone.layers[0]"], 1),
        (["backbone.embeddings", "backbone.layers[:8]"], 8),
        (["backbone.embeddings", "backbone.layers[:3]", "backbone.layers[4:]"], 3),
        (["backbone.embeddings", "backbone.layers[:3]", "re:^layer.3.w$"], 3),
        (["backbone.embeddings", "backbone.layers[1:]"], 0),
        (["backbone", "heads.score"], 12),
        (["all"], 12),
    ],
)
def test_a_prefix_is_frozen_from_the_embeddings_up_to_the_first_gap(
    freeze: list[str], layers: int | None
) -> None:
    assert frozen_prefix(select(freeze, PLACES), PLACES) == layers
