"""The laws of staged freezing, under a real Trainer; several processes are in test_ddp.py."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import distributed
from torch._dynamo.utils import counters
from torch.utils.data import DataLoader, Dataset

from lit_mtl.artifact.bundle import load_checkpoint
from lit_mtl.callbacks.staged_freezing import StagedFreezing
from lit_mtl.data.batch import Batch
from lit_mtl.errors import ConfigError
from lit_mtl.module import MultiTaskModule
from lit_mtl.optim.freezing_plan import Plateau, Stage
from lit_mtl.optim.loss_balancing import Balancing
from lit_mtl.optim.schedules import WarmupDecay
from lit_mtl.optim.selectors import select
from lit_mtl.tasks import Regression
from tests.conftest import Run, example_data
from tests.model.families import FAMILIES, family_config
from tests.runs import run_folder, scalars_of

THREE = [
    Stage(name="probe", freeze=("backbone",), until_epoch=1),
    Stage(name="all", until_epoch=2, warmup_steps=2),
    Stage(name="again", freeze=("backbone.embeddings", "heads.sentiment")),
]


class Spy(Callback):
    """Keeps flags, modes, rates, weights, gradients and moments at each optimizer step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        assert isinstance(pl_module, MultiTaskModule)
        named = dict(pl_module.network.named_parameters())
        self.steps.append(
            {
                "trainable": {name for name, p in named.items() if p.requires_grad},
                "gradients": {name for name, p in named.items() if p.grad is not None},
                "zero": {n for n, p in named.items() if p.grad is not None and not p.grad.any()},
                "moments": {name for name, p in named.items() if optimizer.state.get(p)},
                "weights": {name: p.detach().clone() for name, p in named.items()},
                "rates": {group["name"]: group["lr"] for group in optimizer.param_groups},
                "training": {name for name, m in pl_module.network.named_modules() if m.training},
            }
        )


class KeepEpoch(Callback):
    """Saves a checkpoint at the end of one epoch."""

    def __init__(self, path: Path, *, epoch: int) -> None:
        self.path, self.epoch = path, epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch + 1 == self.epoch:
            trainer.save_checkpoint(self.path)


def fit(
    backbone: Path,
    stages: list[Stage],
    *,
    epochs: int = 3,
    keep: KeepEpoch | None = None,
    compile_layers: bool = False,
    loss_balancing: Balancing = "static",
    **options: Any,
) -> tuple[MultiTaskModule, Spy, Trainer]:
    seed_everything(0, workers=True)
    module = MultiTaskModule(
        str(backbone),
        lr=1e-3,
        schedule="constant",
        compile_layers=compile_layers,
        loss_balancing=loss_balancing,
    )
    spy = Spy()
    callbacks = [spy] if keep is None else [spy, keep]
    trainer = trainer_of(stages, *callbacks, max_epochs=epochs, **options)
    trainer.fit(module, datamodule=example_data(backbone))
    return module, spy, trainer


def trainer_of(
    stages: list[Stage] | StagedFreezing, *callbacks: Callback, **options: Any
) -> Trainer:
    return Trainer(
        accelerator="cpu",
        callbacks=[
            stages if isinstance(stages, StagedFreezing) else StagedFreezing(stages),
            *callbacks,
        ],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def names(module: MultiTaskModule, *selectors: str) -> set[str]:
    return select(selectors, module.network.places())


STEPS = 5
"""Steps an epoch of the example sentences."""


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"precision": "bf16-mixed"},
        {"gradient_clip_val": 0.1},
        {"accumulate_grad_batches": 2},
    ],
    ids=["plain", "amp", "clipping", "accumulation"],
)
def test_what_is_frozen_rests_bit_for_bit_and_all_else_moves(
    tiny_bert: Path, options: dict[str, Any]
) -> None:
    module, spy, _ = fit(tiny_bert, THREE, **options)
    every = set(dict(module.network.named_parameters()))
    after = [step["weights"] for step in spy.steps[1:]]
    after.append({n: p.detach() for n, p in module.network.named_parameters()})
    for step, weights in zip(spy.steps, after, strict=True):
        moved = {name for name in every if not torch.equal(weights[name], step["weights"][name])}
        assert moved == step["trainable"]
        assert step["gradients"] == step["trainable"]
    seen = [step["trainable"] for step in spy.steps]
    backbone = names(module, "backbone")
    again = names(module, "backbone.embeddings", "heads.sentiment")
    kinds = [every - backbone, every, every - again]
    assert [kinds.index(trainable) for trainable in seen] == sorted(
        kinds.index(trainable) for trainable in seen
    )
    assert all(kind in seen for kind in kinds)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_goes_through_a_plan(family: str, tmp_path: Path) -> None:
    family_config(family).save_pretrained(tmp_path)
    module, spy = MultiTaskModule(str(tmp_path), pretrained=False, lr=1e-2), Spy()
    module.build({"score": Regression(low=-4, high=4)})
    batch = Batch(
        input_ids=torch.arange(5, 45).view(4, 10),
        attention_mask=torch.ones(4, 10, dtype=torch.int64),
        row_id=torch.arange(4),
        targets={"score": torch.tensor([1.0, -1.0, 2.0, 0.5])},
        labelled={"score": torch.ones(4, dtype=torch.bool)},
        tokens=40,
    )
    loader: DataLoader[Batch] = DataLoader(cast(Dataset[Batch], [batch]), batch_size=None)
    low = ("backbone.embeddings", "backbone.layers[:2]")
    stages = [
        Stage(name="top", freeze=low, until_step=1),
        Stage(name="all", until_step=2),
        Stage(name="again", freeze=low),
    ]
    trainer_of(stages, spy, max_epochs=3).fit(module, loader)
    every, frozen = set(dict(module.network.named_parameters())), names(module, *low)
    assert [step["trainable"] for step in spy.steps] == [every - frozen, every, every - frozen]
    assert all(step["gradients"] == step["trainable"] for step in spy.steps)
    for number, step in enumerate(spy.steps[1:]):
        before = spy.steps[number]
        moved = {n for n, w in step["weights"].items() if not torch.equal(w, before["weights"][n])}
        assert moved == before["trainable"]


def test_what_was_never_thawed_has_no_optimizer_state(tiny_bert: Path) -> None:
    low = ("backbone.embeddings", "backbone.layers[0]")
    module, spy, trainer = fit(tiny_bert, [Stage(name="top", freeze=low)])
    frozen = names(module, *low)
    states = trainer.optimizers[0].state
    with_state = {n for n, p in module.network.named_parameters() if states.get(p)}
    assert with_state == set(dict(module.network.named_parameters())) - frozen
    assert spy.steps[0]["moments"] == set()


def test_moments_are_forgotten_when_a_part_trains_again(tiny_bert: Path) -> None:
    stages = [
        Stage(name="one", until_step=2),
        Stage(name="rest", freeze=("projection",), until_step=4),
        Stage(name="two"),
    ]
    module, spy, _ = fit(tiny_bert, stages, epochs=1)
    projection = names(module, "projection")
    assert [projection <= step["moments"] for step in spy.steps] == [False, True, True, True, False]


class Stale(Callback):
    """Looks for gradients of frozen parameters before Lightning sets all of them to zero."""

    def __init__(self) -> None:
        self.steps: list[bool] = []

    def on_before_zero_grad(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        parameters = list(pl_module.parameters())
        assert any(p.grad is not None for p in parameters) == bool(self.steps)
        self.steps.append(any(p.grad is not None and not p.requires_grad for p in parameters))


def test_the_last_gradient_of_what_is_frozen_again_is_dropped(tiny_bert: Path) -> None:
    """An optimizer would still step with it."""
    stages = [Stage(name="one", until_step=2), Stage(name="rest", freeze=("projection",))]
    module, stale = MultiTaskModule(str(tiny_bert)), Stale()
    trainer_of(stages, stale, max_epochs=1).fit(module, datamodule=example_data(tiny_bert))
    assert stale.steps == [False] * STEPS


def test_a_later_stage_alone_sets_the_same_flags_and_modes(tiny_bert: Path) -> None:
    _, through, _ = fit(tiny_bert, THREE)
    _, jumped, _ = fit(tiny_bert, THREE[2:], epochs=1)
    for key in ("trainable", "training"):
        assert through.steps[-1][key] == jumped.steps[-1][key]


def test_a_thaw_warms_up_its_own_groups_and_no_others(tiny_bert: Path) -> None:
    with pytest.warns(UserWarning, match=r"ends at step 10, before these stages begin: 'again'"):
        module, spy, _ = fit(tiny_bert, THREE, epochs=2)
    rates = [step["rates"] for step in spy.steps]
    for group in module.param_groups():
        name = group["name"]
        thawed = name.startswith(("embeddings", "layer"))
        expected = [0.0, 1 / 3, 2 / 3, 1.0] if thawed else [1.0, 1.0, 1.0, 1.0]
        found = [step[name] / group["lr"] for step in rates[STEPS - 1 : STEPS + 3]]
        assert found == pytest.approx(expected), name


def test_a_stage_scales_all_rates(tiny_bert: Path) -> None:
    stages = [Stage(name="one", until_step=3), Stage(name="two", lr_scale=0.25)]
    _, spy, _ = fit(tiny_bert, stages, epochs=1)
    for name, rate in spy.steps[2]["rates"].items():
        assert spy.steps[3]["rates"][name] == pytest.approx(0.25 * rate)


def test_the_rate_of_a_group_is_0_while_all_of_it_is_frozen(tiny_bert: Path) -> None:
    part = r"re:.*layer\.1\.attention\..*"
    stages = [
        Stage(name="some", freeze=("heads.score", "backbone.embeddings", part), until_step=2),
        Stage(name="all"),
    ]
    _, spy, _ = fit(tiny_bert, stages, epochs=1)
    zero = [{name for name, rate in step["rates"].items() if rate == 0} for step in spy.steps]
    resting = {
        f"{part}/{decay}"
        for part in ("heads.score", "embeddings")
        for decay in ("decay", "no_decay")
    }
    assert zero == [resting] * 2 + [set()] * (STEPS - 2)


def test_frozen_modules_are_in_eval_mode_also_after_validation(tiny_bert: Path) -> None:
    stages = [Stage(name="top", freeze=("backbone.embeddings", "backbone.layers[:1/2]"))]
    module, spy, _ = fit(tiny_bert, stages, val_check_interval=2)
    transformer = "encoder.backbone.transformer"
    for step in spy.steps:
        assert f"{transformer}.encoder.layer.1" in step["training"]
        assert f"{transformer}.encoder.layer.1.output.dropout" in step["training"]
        for prefix in (f"{transformer}.embeddings", f"{transformer}.encoder.layer.0"):
            assert not {name for name in step["training"] if name.startswith(prefix)}
    embeddings = module.network.encoder.backbone.transformer.get_submodule("embeddings")
    ids = torch.arange(5, 15).unsqueeze(0)
    assert torch.equal(embeddings(input_ids=ids), embeddings(input_ids=ids))


@pytest.mark.parametrize("command", ["validate", "test"])
def test_a_frozen_prefix_stays_deterministic_after_other_commands(
    tiny_bert: Path, command: str
) -> None:
    """Law 11; Lightning's own callback freezes anew in `setup` of a test."""
    stages = [Stage(name="top", freeze=("backbone.embeddings", "backbone.layers[:1/2]"))]
    module, spy, trainer = fit(tiny_bert, stages, epochs=1)
    assert spy.steps
    before = flags_and_modes(module)
    run: Callable[..., Any] = getattr(trainer, command)
    run(module, datamodule=example_data(tiny_bert))
    assert flags_and_modes(module) == before
    prefix = module.network.encoder.backbone.transformer
    seen: list[torch.Tensor] = []
    layers = list(prefix.get_submodule("encoder.layer").children())
    for layer in layers:
        layer.register_forward_hook(
            lambda _m, _i, out: seen.append(out[0] if isinstance(out, tuple) else out)
        )
    ids = torch.arange(5, 15).unsqueeze(0)
    for _ in range(2):
        prefix(input_ids=ids)
    assert torch.equal(seen[0], seen[2]), "the frozen layer has no dropout"
    assert not torch.equal(seen[1], seen[3]), "the one above it has"


class CallsTrain(Callback):
    """Does what any other callback may do at any time."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.train()


def test_frozen_modules_rest_whoever_calls_train(tiny_bert: Path) -> None:
    low = Stage(name="top", freeze=("backbone.embeddings", "backbone.layers[:1/2]"))
    module, spy = MultiTaskModule(str(tiny_bert)), Spy()
    trainer_of([low], spy, CallsTrain(), max_epochs=2).fit(
        module, datamodule=example_data(tiny_bert)
    )
    for step in spy.steps:
        resting = {n for n in step["training"] if "embeddings" in n or "encoder.layer.0" in n}
        assert resting == set()


def test_applying_a_stage_twice_equals_once(tiny_bert: Path) -> None:
    module, _, trainer = fit(tiny_bert, THREE)
    callback = next(c for c in vars(trainer)["callbacks"] if isinstance(c, StagedFreezing))
    before = flags_and_modes(module)
    rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
    callback.on_train_start(trainer, module)
    assert flags_and_modes(module) == before
    assert [group["lr"] for group in trainer.optimizers[0].param_groups] == rates


def flags_and_modes(module: MultiTaskModule) -> tuple[list[bool], list[bool]]:
    return (
        [parameter.requires_grad for parameter in module.network.parameters()],
        [part.training for part in module.network.modules()],
    )


@pytest.mark.parametrize("command", ["validate", "test"])
def test_nothing_changes_outside_fit(tiny_bert: Path, command: str) -> None:
    module, datamodule = MultiTaskModule(str(tiny_bert)), example_data(tiny_bert)
    datamodule.setup("fit")
    module.build(datamodule.tasks)
    before = flags_and_modes(module)
    trainer = trainer_of([Stage(name="all", freeze=("all",))])
    run: Callable[..., Any] = getattr(trainer, command)
    run(module, datamodule=datamodule)
    assert flags_and_modes(module) == before
    assert all(before[0])


def test_a_wholly_frozen_run_reports_and_changes_nothing(tiny_bert: Path) -> None:
    module, spy, trainer = fit(tiny_bert, [Stage(name="all", freeze=("all",))])
    for name, parameter in module.network.named_parameters():
        assert torch.equal(parameter, spy.steps[0]["weights"][name])
    assert {"train/loss", "val/score/pearson", "val/selection"} <= set(trainer.callback_metrics)
    assert trainer.callback_metrics["stage/trainable_parameters"] == 0


class LearnedWeights(Callback):
    """Keeps the learned log-variances after each step."""

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, MultiTaskModule)
        assert pl_module.uncertainty is not None
        self.steps.append(pl_module.uncertainty.log_variances.detach().clone())


def test_learned_loss_weights_rest_while_the_whole_network_does_and_only_then(
    tiny_bert: Path,
) -> None:
    stages = [
        Stage(name="heads", freeze=("backbone", "projection"), until_step=3),
        Stage(name="nothing", freeze=("all",), until_step=6),
        Stage(name="all"),
    ]
    learned = LearnedWeights()
    module = MultiTaskModule(str(tiny_bert), lr=1e-3, loss_balancing="uncertainty")
    trainer_of(stages, learned, max_epochs=2).fit(module, datamodule=example_data(tiny_bert))
    moves = [
        not torch.equal(one, other)
        for one, other in zip(learned.steps, learned.steps[1:], strict=False)
    ]
    assert learned.steps[0].all()
    assert moves == [True, True, *[False] * 3, *[True] * 4]


def test_a_frozen_head_teaches_the_encoder_and_a_task_of_weight_zero_does_not(
    tiny_bert: Path,
) -> None:
    one = [Stage(name="frozen", freeze=("heads.score",), loss_weights={"sentiment": 0.0})]
    module, spy, _ = fit(tiny_bert, one, epochs=1)
    assert not names(module, "heads.score") & spy.steps[0]["gradients"]
    assert not names(module, "backbone.layers", "projection") & spy.steps[0]["zero"]
    off = [Stage(name="off", freeze=("heads.sentiment",), loss_weights={"score": 0.0})]
    module, spy, _ = fit(tiny_bert, off, epochs=1)
    assert names(module, "heads.score") <= spy.steps[0]["zero"]


def test_no_autograd_node_exists_below_a_frozen_prefix(tiny_bert: Path) -> None:
    module, _, _ = fit(
        tiny_bert,
        [Stage(name="top", freeze=("backbone.embeddings", "backbone.layers[0]"))],
        epochs=1,
    )
    seen: dict[str, bool] = {}
    encoder = module.network.encoder.backbone.transformer.get_submodule("encoder.layer")
    for number, layer in enumerate(encoder.children()):
        layer.register_forward_hook(
            lambda _m, _i, out, number=number: seen.update(
                {str(number): (out[0] if isinstance(out, tuple) else out).requires_grad}
            )
        )
    ids = torch.arange(5, 15).unsqueeze(0)
    module.network(ids, torch.ones_like(ids))
    assert seen == {"0": False, "1": True}


def test_a_trainable_hole_below_a_frozen_layer_warns(tiny_bert: Path) -> None:
    with pytest.warns(UserWarning, match="'hole': embeddings trains below a frozen part"):
        fit(tiny_bert, [Stage(name="hole", freeze=("backbone.layers[0]",))], epochs=1)


@pytest.mark.parametrize("reentrant", [True, False])
def test_only_non_reentrant_checkpointing_goes_with_a_plan(
    steady_bert: Path, reentrant: bool
) -> None:
    stages = [Stage(name="top", freeze=("backbone.embeddings", "backbone.layers[0]"))]
    module, data, spy = MultiTaskModule(str(steady_bert)), example_data(steady_bert), Spy()
    data.setup("fit")
    module.build(data.tasks)
    module.network.encoder.backbone.transformer.activation_checkpointing_enable(
        activation_checkpointing_kwargs={"use_reentrant": reentrant}
    )
    trainer = trainer_of(stages, spy, max_epochs=1)
    if reentrant:
        with pytest.raises(ConfigError, match="non-reentrant"):
            trainer.fit(module, datamodule=data)
        return
    trainer.fit(module, datamodule=data)
    assert spy.steps[0]["gradients"] == spy.steps[0]["trainable"]


def test_a_stage_ends_when_its_metric_stops_improving(tiny_bert: Path) -> None:
    worse = Plateau(monitor="val/loss", patience=2, mode="max", min_delta=1e6)
    stages = [Stage(name="probe", freeze=("backbone",), until_plateau=worse), Stage(name="all")]
    module, spy, _ = fit(tiny_bert, stages, epochs=4)
    # the first validation sets the mark, the second and third do not improve on it
    backbone = names(module, "backbone")
    thawed = [bool(backbone & step["trainable"]) for step in spy.steps]
    assert thawed == [False] * 3 * STEPS + [True] * STEPS


def test_tensorboard_shows_stage_trainable_parameters_and_every_rate_at_each_step(
    lit_mtl: Run, fit_arguments: list[str]
) -> None:
    stages = [
        {"name": "heads", "freeze": ["backbone"], "until_step": 3},
        {"name": "all", "until_step": 7, "warmup_steps": 2, "lr_scale": 0.5},
        {"name": "top", "freeze": ["backbone.embeddings"]},
    ]
    Path("plan.yaml").write_text(yaml.safe_dump({"freezing": {"stages": stages}}))
    assert lit_mtl("fit", *fit_arguments, "--config=plan.yaml") == 0
    scalars = scalars_of(run_folder(Path()))
    assert [value for _, value in scalars["stage/index"]] == [0] * 3 + [1] * 4 + [2] * 3
    trainable = [value for _, value in scalars["stage/trainable_parameters"]]
    weights = load_checkpoint(run_folder(Path()) / "checkpoints" / "last.ckpt").network
    sizes = {
        part: sum(
            parameter.numel()
            for name, parameter in weights.named_parameters()
            if weights.places()[name].part in part
        )
        for part in ("embeddings", "embeddings layer_0 layer_1")
    }
    total = sum(parameter.numel() for parameter in weights.parameters())
    probe, top = total - sizes["embeddings layer_0 layer_1"], total - sizes["embeddings"]
    assert trainable == [probe] * 3 + [total] * 4 + [top] * 3
    course = WarmupDecay(total_steps=10, warmup_fraction=0.1, shape="linear")
    scale = [1.0] * 3 + [0.5] * 4 + [1.0] * 3
    climbed = [0.0] * 3 + [1 / 3, 2 / 3] + [1.0] * 5
    for part, peak in {"heads.score": 1e-2, "layer_0": 1e-3 * 0.95**2}.items():
        thawed = climbed if part == "layer_0" else [1.0] * 10
        expected = {n: peak * course(n) * scale[n] * thawed[n] for n in range(10)}
        assert dict(scalars[f"lr/{part}/decay"]) == pytest.approx(expected), part


class Logs(Callback):
    """Logs given values as a metric, one after each epoch."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            pl_module.log("val/watched", self.values[trainer.current_epoch])


def test_a_metric_that_is_not_a_number_neither_improves_nor_is_the_best(tiny_bert: Path) -> None:
    watched = Plateau(monitor="val/watched", patience=2)
    stages = [Stage(name="probe", freeze=("backbone",), until_plateau=watched), Stage(name="all")]
    spy = Spy()
    values = Logs(math.nan, 0.5, math.nan, 0.6, math.nan, math.nan, 0.1)
    module, trainer = MultiTaskModule(str(tiny_bert)), trainer_of(stages, spy, values, max_epochs=7)
    trainer.fit(module, datamodule=example_data(tiny_bert))
    backbone = names(module, "backbone")
    thawed = [bool(backbone & step["trainable"]) for step in spy.steps]
    assert thawed == [False] * 6 * STEPS + [True] * STEPS


def test_a_plateau_on_an_unknown_metric_is_refused(tiny_bert: Path) -> None:
    stages = [Stage(name="one", until_plateau=Plateau(monitor="val/nothing")), Stage(name="two")]
    with pytest.raises(ConfigError, match=r"'one'.*'val/nothing'.*val/selection"):
        fit(tiny_bert, stages, epochs=1)


@pytest.mark.parametrize("stages", [[], [Stage(name="top", freeze=("backbone.embeddings",))]])
def test_fsdp_is_refused_by_name(tiny_bert: Path, stages: list[Stage]) -> None:
    module, spy = MultiTaskModule(str(tiny_bert)), Spy()
    trainer = trainer_of(stages, spy, max_epochs=1, strategy=ModelParallelStrategy(), devices=1)
    try:
        with pytest.raises(ConfigError, match="ModelParallelStrategy is not supported"):
            trainer.fit(module, datamodule=example_data(tiny_bert))
    finally:
        distributed.destroy_process_group()
    assert not spy.steps


def test_a_stage_that_would_end_before_it_begins_is_refused(tiny_bert: Path) -> None:
    stages = [Stage(name="one", until_step=6), Stage(name="two", until_epoch=1), Stage(name="all")]
    with pytest.raises(ConfigError, match=r"'two': ends at step 5, not behind step 6"):
        fit(tiny_bert, stages)


def test_a_plan_that_does_not_fit_is_refused_before_the_first_batch(tiny_bert: Path) -> None:
    with pytest.raises(ConfigError, match=r"'one': The selector 'heads\.mood' selects nothing"):
        fit(tiny_bert, [Stage(name="one", freeze=("heads.mood",))])


# both come from within torch's compiler
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_compiled_layers_learn_what_eager_ones_do(steady_bert: Path) -> None:
    """At every step of a plan that freezes again, in double precision; and few variants do it."""
    low = ("backbone.embeddings", "backbone.layers[:1]")
    stages = [
        Stage(name="probe", freeze=("backbone",), until_step=2),
        Stage(name="top", freeze=low, until_step=4),
        Stage(name="all", until_step=6),
        Stage(name="again", freeze=low),
    ]
    options: dict[str, Any] = {"epochs": 2, "precision": "64-true", "num_sanity_val_steps": 0}
    eager, eager_spy, _ = fit(steady_bert, stages, **options)
    torch._dynamo.reset()  # other tests of this process may have compiled
    counters.clear()
    compiled, spy, _ = fit(steady_bert, stages, compile_layers=True, **options)
    for step, expected in zip(spy.steps, eager_spy.steps, strict=True):
        torch.testing.assert_close(step["weights"], expected["weights"], atol=1e-9, rtol=1e-9)
        assert step["gradients"] == expected["gradients"] == step["trainable"]
    torch.testing.assert_close(
        compiled.network.state_dict(), eager.network.state_dict(), atol=1e-9, rtol=1e-9
    )
    # a length or a layer of its own would each double this
    assert 1 <= counters["stats"]["unique_graphs"] <= 6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_upgrad_goes_back_through_a_compiled_layer_twice(steady_bert: Path) -> None:
    """Where the projection rests, that layer is the uppermost that the tasks share."""
    stages = [
        Stage(name="only", freeze=("projection", "backbone.embeddings", "backbone.layers[:1]"))
    ]
    torch._dynamo.reset()
    options: dict[str, Any] = {"epochs": 1, "loss_balancing": "upgrad", "precision": "64-true"}
    eager, _, _ = fit(steady_bert, stages, **options)
    compiled, _, _ = fit(steady_bert, stages, compile_layers=True, **options)
    torch.testing.assert_close(
        compiled.network.state_dict(), eager.network.state_dict(), atol=1e-9, rtol=1e-9
    )


@pytest.mark.filterwarnings("ignore:The checkpoint does not say how far")
def test_resuming_goes_on_in_its_stage_and_with_another_plan_is_refused(
    tiny_bert: Path, tmp_path: Path
) -> None:
    _, whole, _ = fit(tiny_bert, THREE)
    path = tmp_path / "two.ckpt"
    module, _, _ = fit(tiny_bert, THREE, keep=KeepEpoch(path, epoch=2))
    spy = Spy()
    resumed = MultiTaskModule(str(tiny_bert), lr=1e-3, schedule="constant")
    trainer_of(THREE, spy, max_epochs=3).fit(
        resumed, datamodule=example_data(tiny_bert), ckpt_path=path, weights_only=True
    )
    for key in ("trainable", "training", "rates"):
        assert [step[key] for step in spy.steps] == [step[key] for step in whole.steps[10:]]
    changed = [*THREE[:2], Stage(name="again", freeze=("projection",))]
    with pytest.raises(
        ConfigError, match=r"freezing\.stages: .*until_epoch.* there, .*until_epoch.* here"
    ):
        trainer_of(changed, max_epochs=3).fit(
            resumed, datamodule=example_data(tiny_bert), ckpt_path=path, weights_only=True
        )
    assert module.tasks == resumed.tasks


def test_a_callback_that_is_used_again_begins_with_its_first_stage(tiny_bert: Path) -> None:
    freezing, found = StagedFreezing(THREE), []
    for _ in range(2):
        spy = Spy()
        trainer = trainer_of(freezing, spy, max_epochs=3)
        trainer.fit(MultiTaskModule(str(tiny_bert)), datamodule=example_data(tiny_bert))
        found.append([step["trainable"] for step in spy.steps])
    assert found[0] == found[1]
    assert len({len(trainable) for trainable in found[0]}) > 1


def test_a_plateau_within_the_batches_of_a_step_waits_for_its_end(tiny_bert: Path) -> None:
    worse = Plateau(monitor="val/loss", patience=1, mode="max", min_delta=1e6)
    stages = [Stage(name="probe", freeze=("backbone",), until_plateau=worse), Stage(name="all")]
    changed: list[int] = []

    class Changes(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            if freezing.index and not changed:
                changed.append(batch_idx)

    freezing = StagedFreezing(stages)
    trainer = trainer_of(
        freezing,
        Changes(),
        max_epochs=2,
        accumulate_grad_batches=4,
        val_check_interval=1,
        num_sanity_val_steps=0,
    )
    trainer.fit(MultiTaskModule(str(tiny_bert)), datamodule=example_data(tiny_bert))
    # validations behind the first and the second batch, and a step behind the fourth
    assert changed == [4]


@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")
def test_a_fit_without_stages_has_the_tasks_own_weights_and_says_what_rests(
    tiny_bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind one with a plan, in the same process."""
    plan = [Stage(name="probe", freeze=("backbone",), loss_weights={"score": 0.0})]
    module, _, _ = fit(tiny_bert, plan, epochs=1)
    assert module.network.loss_weights == {"sentiment": 1.0, "score": 0.0}
    with caplog.at_level(logging.INFO):
        trainer_of([], max_epochs=1).fit(module, datamodule=example_data(tiny_bert))
    assert module.network.loss_weights == {"sentiment": 1.0, "score": 1.0}
    frozen = sum(p.numel() for p in module.network.encoder.backbone.parameters())
    assert f"{frozen:,} of " in caplog.text
    module.network.requires_grad_(True)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        trainer_of([], max_epochs=1).fit(module, datamodule=example_data(tiny_bert))
    assert "were frozen" not in caplog.text


def test_a_stage_that_waits_for_a_validation_is_refused_where_there_is_none(
    tiny_bert: Path,
) -> None:
    plateau = Plateau(monitor="val/selection")
    with pytest.raises(ConfigError, match=r"'a': expected validations for `until_plateau`"):
        fit(
            tiny_bert,
            [Stage(name="a", until_plateau=plateau), Stage(name="b")],
            limit_val_batches=0,
        )
