import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_mtl.callbacks.staged_freezing import steps_an_epoch
from lit_mtl.commands.plan import (
    end_of,
    expected_steps,
    gradual_plan,
    rate_table,
    stage_table,
)
from lit_mtl.model.multitask import Architecture, MultiTaskModel
from lit_mtl.module import MultiTaskModule
from lit_mtl.optim.freezing_plan import Plateau, Stage, frozen_sets
from lit_mtl.optim.param_groups import Rates
from lit_mtl.tasks import Classification, Regression
from tests.conftest import Run, example_data
from tests.model.families import LAYERS, family_config
from tests.test_module import trainer

STAGES = [
    Stage(name="probe", freeze=("backbone",), until_epoch=1, loss_weights={"score": 0.0}),
    Stage(name="top", freeze=("backbone.embeddings", "backbone.layers[:1/3]"), until_step=9),
    Stage(name="all", lr_scale=0.5),
]


@pytest.fixture
def network() -> MultiTaskModel:
    return MultiTaskModel(
        family_config("bert"),
        tasks={"mood": Classification(labels=("a", "b")), "score": Regression(low=0, high=1)},
        architecture=Architecture(),
    )


def test_the_stage_table_counts_parameters_and_cost(network: MultiTaskModel) -> None:
    rows = [line.split() for line in stage_table(STAGES, network).splitlines()[2:]]
    top = sum(p.numel() for p in network.parameters()) - sum(
        p.numel()
        for name, p in network.named_parameters()
        if "embeddings" in name or "layer.0." in name
    )
    assert rows[0][:4] == ["probe", "epoch", "1", "backbone"]
    assert rows[0][-3:] == ["33%", "score", "0"]
    assert [int(rows[1][-2].replace(",", "")), rows[1][-1]] == [top, "78%"]
    assert rows[2][-1] == "100%"


def test_the_rate_table_shows_what_rests_and_the_peak_of_what_learns(
    network: MultiTaskModel,
) -> None:
    rates = Rates(lr=1e-3, layer_decay=0.5, head_lr_multiplier=4.0)
    lines = rate_table(STAGES, network, rates).splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[2:]}
    assert lines[0].split()[-3:] == ["probe", "top", "all"]
    assert rows["heads.mood"] == ["0.004", "0.004", "0.002"]
    assert rows["layer_2"] == ["-", "0.0005", "0.00025"]
    assert rows["layer_0"] == ["-", "-", "6.25e-05"]


def test_a_part_that_rests_in_part_says_so(network: MultiTaskModel) -> None:
    bias = [Stage(name="no_bias", freeze=(r"re:projection\.bias",))]
    assert "0.001 (1/2)" in rate_table(bias, network, Rates(lr=1e-3))


@pytest.mark.parametrize("epochs", [1, 4, 40])
def test_a_generated_plan_is_valid_and_thaws_one_layer_a_stage(
    network: MultiTaskModel, epochs: int
) -> None:
    plan = yaml.safe_load(gradual_plan(network, epochs=epochs))
    stages = [Stage(**stage) for stage in plan["freezing"]["stages"]]
    frozen = frozen_sets(stages, places=network.places(), tasks=list(network.tasks))
    assert len(stages) == LAYERS + 1
    assert all(later < earlier for earlier, later in itertools.pairwise(frozen))
    assert not frozen[-1]
    assert plan["trainer"]["max_epochs"] >= max(epochs, (stages[-2].until_epoch or 0) + 1)


def test_the_command_refuses_a_plan_as_fit_would(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for stages, message in (
        ("[{name: a, freeze: [heads.mood]}]", "'heads.mood' selects nothing. There are backbone,"),
        ("[{name: a}, {name: b}]", "Stage 'a': expected exactly one of until_epoch"),
        ("[{name: a, until_epoch: 1}]", "Stage 'a': the last stage ends with the training"),
        (
            "[{name: a, until_step: 100}, {name: b, until_epoch: 1}, {name: c}]",
            "Stage 'b': ends at step 5, not behind step 100, where Stage 'a' ends; an epoch has 5",
        ),
    ):
        for command in ("plan", "fit"):
            capsys.readouterr()
            assert lit_mtl(command, *fit_arguments, f"--freezing.stages={stages}") == 2
            assert message in capsys.readouterr().err


def test_the_command_refuses_stages_that_wait_in_vain_or_teach_nothing(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    own = [*fit_arguments, "--tasks.score.weight=0"]
    idle = "[{name: a, until_step: 2}, {name: b, loss_weights: {sentiment: 0}}]"
    for stages, message in (
        ("[{name: a, until_plateau: {monitor: val/x}}, {name: b}]", "Stage 'a': expected a logged"),
        (idle, "Stage 'b': the losses of all tasks ("),
    ):
        for command in ("plan", "fit"):
            capsys.readouterr()
            assert lit_mtl(command, *own, f"--freezing.stages={stages}") == 2
            assert message in capsys.readouterr().err
    assert lit_mtl("plan", *own, f"--freezing.stages={idle}", "--protection.weight=1") == 0


def test_the_command_warns_as_fit_would(lit_mtl: Run, fit_arguments: list[str]) -> None:
    stages = "[{name: a, freeze: [backbone.layers], until_epoch: 2}, {name: b}]"
    for command in ("plan", "fit"):
        with pytest.warns() as caught:
            assert lit_mtl(command, *fit_arguments, f"--freezing.stages={stages}") == 0
        said = " ".join(str(warning.message) for warning in caught)
        assert "The training ends at step 10, before these stages begin: 'b'" in said, command
        assert "Stage 'a': embeddings trains below a frozen part" in said, command


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"limit_train_batches": 3},
        {"limit_train_batches": 100},
        {"limit_train_batches": 0.5, "accumulate_grad_batches": 2},
        {"accumulate_grad_batches": 3},
        {"max_steps": 7},
        {"max_epochs": -1, "max_steps": 12},
        {"fast_dev_run": True},
    ],
    ids=str,
)
def test_the_expected_steps_are_those_of_a_fit(
    options: dict[str, Any], tiny_bert: Path, tmp_path: Path
) -> None:
    class Steps(Callback):
        found: tuple[int, float]

        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            self.found = steps_an_epoch(trainer), trainer.estimated_stepping_batches
            trainer.should_stop = True

    steps, settings = Steps(), {"max_epochs": 2, "limit_val_batches": 0, **options}
    training = trainer(tmp_path, steps, **settings)
    training.fit(MultiTaskModule(str(tiny_bert)), datamodule=example_data(tiny_bert))
    data = example_data(tiny_bert)
    data.prepare_data()
    data.setup("fit")
    assert expected_steps(trainer(tmp_path, **settings), data) == steps.found


def test_ends_in_words() -> None:
    assert end_of(STAGES[1]) == "step 9"
    assert end_of(STAGES[2]) == "the end"
    plateau = Stage(name="p", until_plateau=Plateau(patience=3))
    assert end_of(plateau) == "val/selection stalls 3x"


def test_the_command_shows_a_config_and_generates_what_fit_runs(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("plan", *fit_arguments) == 0
    assert "100%" in capsys.readouterr().out
    assert lit_mtl("plan", "--generate", "gradual", *fit_arguments) == 0
    generated = capsys.readouterr().out
    with open("plan.yaml", "w", encoding="utf-8") as file:
        file.write(generated)
    words = [word for word in fit_arguments if "max_epochs" not in word]
    assert lit_mtl("fit", *words, "--config", "plan.yaml") == 0
    printed = capsys.readouterr().out
    assert f"epoch {yaml.safe_load(generated)['trainer']['max_epochs']}, step" in printed


@pytest.mark.parametrize("asked", [["--generate", "gradual"], ["--generate=gradual"]])
def test_the_wish_for_a_plan_may_stand_anywhere(
    asked: list[str], lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    printed = set()
    for words in ([*asked, *fit_arguments], [*fit_arguments, *asked]):
        capsys.readouterr()
        assert lit_mtl("plan", *words) == 0
        printed.add(capsys.readouterr().out)
    assert len(printed) == 1
    assert "stages:" in printed.pop()
    with pytest.raises(SystemExit):
        lit_mtl("plan", "--generate", "steep", *fit_arguments)
    assert "invalid choice: 'steep'" in capsys.readouterr().err
