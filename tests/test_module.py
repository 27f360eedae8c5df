"""The LightningModule under a real Trainer."""

import itertools
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.multiprocessing.spawn import ProcessRaisedException
from torch.utils.data import DataLoader, Dataset

from lit_mtl.checkpoints import SPEC_KEY, read_checkpoint
from lit_mtl.data.batch import Batch
from lit_mtl.data.datamodule import DEFAULT_TASKS, SentimentDataModule
from lit_mtl.errors import ConfigError, DataError
from lit_mtl.evaluation import scalars
from lit_mtl.module import SELECTION_KEY, MultiTaskModule
from lit_mtl.tasks import Classification, Regression, RegressionWithSpread
from lit_mtl.tasks.base import Task
from tests.callbacks.test_staged_freezing import KeepEpoch
from tests.conftest import EXAMPLE_FILES, example_data

TASKS: dict[str, Task] = {
    "sentiment": Classification(labels=("negative", "positive")),
    "score": Regression(low=-4, high=4, center=0.0, scale=1.0),
}


class Recorder(Callback):
    """Keeps what is there just before the first optimizer step, and the logged keys."""

    def __init__(self) -> None:
        self.gradients: dict[str, torch.Tensor] = {}
        self.loss = float("nan")
        self.logged: dict[str, float] = {}

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.gradients = {
            name: parameter.grad.clone()
            for name, parameter in pl_module.named_parameters()
            if parameter.grad is not None
        }
        self.logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.loss = self.logged["train/loss"]


def trainer(folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
    settings = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, **options}
    return Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )


datamodule = example_data


def one_batch(*, labelled: dict[str, list[bool]], fill: float = 0.0) -> Batch:
    """Four rows; `fill` stands where a target is missing."""
    targets: dict[str, list[float]] = {
        "sentiment": [1, 0, 1, 0],
        "score": [2.0, -1.0, 0.5, -3.0],
    }
    types = {"sentiment": torch.int64, "score": torch.float32}
    return Batch(
        input_ids=torch.arange(5, 45).view(4, 10),
        attention_mask=torch.ones(4, 10, dtype=torch.int64),
        row_id=torch.arange(4),
        targets={
            name: torch.tensor(
                [
                    value if seen else fill
                    for value, seen in zip(values, labelled[name], strict=True)
                ],
                dtype=types[name],
            )
            for name, values in targets.items()
        },
        labelled={name: torch.tensor(mask) for name, mask in labelled.items()},
        tokens=40,
    )


def fit_one(module: MultiTaskModule, batch: Batch, folder: Path, recorder: Recorder) -> None:
    loader: DataLoader[Batch] = DataLoader(cast(Dataset[Batch], [batch]), batch_size=None)
    trainer(folder, recorder, max_steps=1).fit(module, loader)


def record_step(tiny_bert: Path, tmp_path: Path, batch: Batch, **options: Any) -> Recorder:
    seed_everything(0)
    module, recorder = MultiTaskModule(str(tiny_bert), **options), Recorder()
    module.build(TASKS)
    fit_one(module, batch, tmp_path, recorder)
    return recorder


def head_gradient(recorder: Recorder, task: str) -> torch.Tensor:
    return recorder.gradients[f"_network.heads.{task}.1.weight"]


SOME = {"sentiment": [True, False, True, False], "score": [False, True, True, False]}
NONE = {"sentiment": [False] * 4, "score": [True] * 4}


def test_what_stands_in_unlabelled_rows_has_no_effect(tiny_bert: Path, tmp_path: Path) -> None:
    one = record_step(tiny_bert, tmp_path, one_batch(labelled=SOME, fill=0))
    other = record_step(tiny_bert, tmp_path, one_batch(labelled=SOME, fill=1))
    assert one.loss == other.loss
    for name, gradient in one.gradients.items():
        assert torch.equal(gradient, other.gradients[name]), name
    full = record_step(tiny_bert, tmp_path, one_batch(labelled={k: [True] * 4 for k in SOME}))
    assert not torch.equal(head_gradient(one, "score"), head_gradient(full, "score"))


def test_a_head_without_labelled_rows_gets_a_zero_gradient(tiny_bert: Path, tmp_path: Path) -> None:
    recorder = record_step(tiny_bert, tmp_path, one_batch(labelled=NONE))
    assert not head_gradient(recorder, "sentiment").any()
    assert head_gradient(recorder, "score").any()
    assert math.isnan(recorder.logged["train/sentiment/loss"]), "a loss of 0 would be the best one"
    assert recorder.logged["train/score/loss"] == pytest.approx(recorder.loss)


def test_the_loss_is_the_weighted_sum_of_the_means_over_labelled_rows(
    steady_bert: Path, tmp_path: Path
) -> None:
    batch = one_batch(labelled=SOME)
    weighted: dict[str, Task] = {
        "sentiment": Classification(labels=("negative", "positive"), weight=0.5),
        "score": Regression(low=-4, high=4, center=0.0, scale=1.0, weight=2.0),
    }
    module, recorder = MultiTaskModule(str(steady_bert), head_dropout=0.0), Recorder()
    module.build(weighted)
    heads = module.network(batch["input_ids"], batch["attention_mask"]).heads
    entropy = torch.nn.functional.cross_entropy(heads["sentiment"][[0, 2]], torch.tensor([1, 1]))
    error = (heads["score"][[1, 2], 0] - torch.tensor([-1.0, 0.5])).square().mean()
    fit_one(module, batch, tmp_path, recorder)
    assert recorder.loss == pytest.approx((0.5 * entropy + 2.0 * error).item())


LEARNED: dict[str, Any] = {"loss_balancing": "uncertainty"}
LOG_VARIANCES = "uncertainty.log_variances"


def test_learned_weights_begin_with_the_step_of_the_static_ones(
    tiny_bert: Path, tmp_path: Path
) -> None:
    batch = one_batch(labelled=SOME)
    static = record_step(tiny_bert, tmp_path, batch)
    learned = record_step(tiny_bert, tmp_path, batch, **LEARNED)
    assert learned.gradients.pop(LOG_VARIANCES).all()
    assert learned.gradients.keys() == static.gradients.keys()
    for name, gradient in static.gradients.items():
        assert torch.equal(gradient, learned.gradients[name]), name


def test_a_batch_without_labelled_rows_leaves_a_tasks_learned_weight_alone(
    tiny_bert: Path, tmp_path: Path
) -> None:
    recorder = record_step(tiny_bert, tmp_path, one_batch(labelled=NONE), **LEARNED)
    score, sentiment = recorder.gradients[LOG_VARIANCES]
    assert sentiment == 0
    assert score != 0


def test_a_loss_with_a_variance_of_its_own_keeps_its_weight(tiny_bert: Path) -> None:
    spread = RegressionWithSpread(low=-4, high=4, center=0.0, scale=1.0, weight=0.3)
    module = MultiTaskModule(str(tiny_bert), **LEARNED)
    module.build({**TASKS, "ratings": spread})
    assert module.uncertainty is not None
    assert module.uncertainty.names == ["score", "sentiment"]
    module.uncertainty.restore({"score": torch.tensor(1.0), "sentiment": torch.tensor(-1.0)})
    found = {name: float(weight) for name, weight in module.weights_in_force().items()}
    assert found == pytest.approx(
        {"sentiment": 2.71828, "score": 0.367879, "ratings": 0.3}, rel=1e-5
    )
    alone = MultiTaskModule(str(tiny_bert), **LEARNED)
    alone.build({"ratings": spread})
    assert alone.uncertainty is None
    assert "loss_weights/no_decay" not in [group["name"] for group in alone.param_groups()]


def test_a_task_of_weight_zero_leaves_its_learned_weight_where_it_was(
    tiny_bert: Path, tmp_path: Path
) -> None:
    data = datamodule(tiny_bert, tasks={**DEFAULT_TASKS, "sentiment": Classification(weight=0)})
    module = MultiTaskModule(str(tiny_bert), **LEARNED)
    trainer(tmp_path).fit(module, datamodule=data)
    assert module.uncertainty is not None
    learned = module.uncertainty.variances()
    assert learned["sentiment"] == 0
    assert learned["score"] != 0
    assert module.weights_in_force()["sentiment"] == 0


def test_checkpoints_with_and_without_learned_weights_load_into_each_other(
    tiny_bert: Path, tmp_path: Path
) -> None:
    """To measure; to train on, the other way to weigh is refused."""
    ways = ("static", "uncertainty", "upgrad")
    for own, other in itertools.permutations(ways, 2):
        path, runner = tmp_path / f"{own}-{other}.ckpt", trainer(tmp_path)
        module = MultiTaskModule(str(tiny_bert), loss_balancing=own)  # type: ignore[arg-type]
        runner.fit(module, datamodule=datamodule(tiny_bert))
        runner.save_checkpoint(path)
        assert not [name for name in module.state_dict() if not name.startswith("_network.")]
        changed = MultiTaskModule(str(tiny_bert), loss_balancing=other)  # type: ignore[arg-type]
        with pytest.raises(
            ConfigError, match=rf"another loss_balancing: {own}; this run has {other}"
        ):
            trainer(tmp_path).fit(
                changed, datamodule=datamodule(tiny_bert), ckpt_path=path, weights_only=True
            )
        trainer(tmp_path).validate(
            changed, datamodule=datamodule(tiny_bert), ckpt_path=path, weights_only=True
        )
        state = module.state_dict()
        assert all(torch.equal(state[name], value) for name, value in changed.state_dict().items())
        again = MultiTaskModule.load_from_checkpoint(path, weights_only=True, **LEARNED)
        assert again.uncertainty is not None
        kept = {} if module.uncertainty is None else module.uncertainty.variances()
        assert kept == {name: again.uncertainty.variances()[name] for name in kept}


def test_a_metric_that_is_no_longer_defined_is_not_the_one_of_before(
    tiny_bert: Path, tmp_path: Path
) -> None:
    """Lightning keeps what was logged, and stages and checkpoints would go by it."""
    found = []

    class Constant(Callback):
        def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            assert isinstance(pl_module, MultiTaskModule)
            if trainer.current_epoch == 1:
                with torch.no_grad():
                    pl_module.network.heads["score"][1].weight.zero_()  # type: ignore[index]

        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            found.append(trainer.callback_metrics["val/score/pearson"].item())

    module = MultiTaskModule(str(tiny_bert))
    trainer(tmp_path, Constant(), max_epochs=2, num_sanity_val_steps=0).fit(
        module, datamodule=datamodule(tiny_bert)
    )
    assert [math.isnan(value) for value in found] == [False, True]
    assert module.results["val"]["score"]["pearson"] is None


def test_upgrad_changes_the_step_of_what_is_shared_alone(steady_bert: Path, tmp_path: Path) -> None:
    """By the factors that are logged, and down to the lowest layer."""
    batch = one_batch(labelled={"sentiment": [True] * 4, "score": [True] * 4})
    # positive rows have the low scores
    batch["targets"]["score"] = torch.tensor([-4.0, 4.0, -4.0, 4.0])
    found: dict[str, Recorder] = {}
    for name, balancing, weights in (
        ("static", "static", (1.0, 1.0)),
        ("sentiment", "static", (1.0, 0.0)),
        ("score", "static", (0.0, 1.0)),
        ("upgrad", "upgrad", (1.0, 1.0)),
    ):
        seed_everything(0)
        module = MultiTaskModule(
            str(steady_bert),
            head_dropout=0.0,
            loss_balancing=balancing,  # type: ignore[arg-type]
        )
        tasks = {
            task: replace(TASKS[task], weight=weight)
            for task, weight in zip(TASKS, weights, strict=True)
        }
        module.build(tasks)
        heads = module.network.heads
        with torch.no_grad():  # both read the same direction
            heads["score"][1].weight.copy_(heads["sentiment"][1].weight[1:] * 3)  # type: ignore[index]
            heads["sentiment"][1].weight[0] = -heads["sentiment"][1].weight[1]  # type: ignore[index]
        found[name] = Recorder()
        fit_one(module, batch, tmp_path, found[name])
    factors = [found["upgrad"].logged[f"train/{task}/shared_weight"] for task in TASKS]
    assert found["upgrad"].loss == found["static"].loss
    assert max(factors) > 1.1, "they are in conflict"
    for name, gradient in found["upgrad"].gradients.items():
        if "heads" in name:
            assert torch.equal(gradient, found["static"].gradients[name]), name
            continue
        parts = [found[task].gradients[name] for task in TASKS]
        expected = factors[0] * parts[0] + factors[1] * parts[1]
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-3)


def test_every_parameter_gets_a_gradient_and_moves(tiny_bert: Path, tmp_path: Path) -> None:
    seed_everything(0)
    module, recorder = MultiTaskModule(str(tiny_bert)), Recorder()
    module.build(TASKS)
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    fit_one(module, one_batch(labelled=SOME), tmp_path, recorder)
    assert set(recorder.gradients) == set(before)
    still = [name for name, parameter in module.named_parameters() if parameter.equal(before[name])]
    assert still == []


def train(tiny_bert: Path, folder: Path, seed: int) -> MultiTaskModule:
    seed_everything(seed, workers=True)
    module = MultiTaskModule(str(tiny_bert), lr=1e-3)
    trainer(folder, max_epochs=2).fit(module, datamodule=datamodule(tiny_bert, seed=seed))
    return module


def test_the_same_seed_gives_identical_weights_and_another_one_does_not(
    tiny_bert: Path, tmp_path: Path
) -> None:
    states = [train(tiny_bert, tmp_path, seed).state_dict() for seed in (1, 1, 2)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_training_learns_what_the_files_say(tiny_bert: Path, tmp_path: Path) -> None:
    seed_everything(0, workers=True)
    module = MultiTaskModule(str(tiny_bert), lr=3e-3, layer_decay=1.0)
    data = datamodule(tiny_bert)
    runner = trainer(tmp_path, max_epochs=60)
    runner.fit(module, datamodule=data)
    assert data.corpus is not None
    data.corpus.splits["test"] = data.corpus.splits["train"]
    runner.test(module, datamodule=data, verbose=False)
    assert module.results["test"]["sentiment"]["accuracy"] == 1.0
    assert module.results["test"]["score"]["pearson"] > 0.95


def test_metric_keys_are_the_documented_ones(tiny_bert: Path, tmp_path: Path) -> None:
    module, runner = MultiTaskModule(str(tiny_bert)), trainer(tmp_path)
    runner.fit(module, datamodule=datamodule(tiny_bert))
    keys = set(runner.callback_metrics)
    assert SELECTION_KEY in keys
    assert {"val/sentiment/accuracy", "val/sentiment/f1_macro", "val/score/pearson"} <= keys
    assert {"train/loss", "train/score/loss", "train/sentiment/loss", "val/loss"} <= keys


def test_the_share_of_padding_is_logged_of_each_step(tiny_bert: Path, tmp_path: Path) -> None:
    module, data, curve = MultiTaskModule(str(tiny_bert)), datamodule(tiny_bert), Curve()
    trainer(tmp_path, logger=curve, log_every_n_steps=1).fit(module, datamodule=data)
    data.position = (0, 0)
    expected = [
        float((batch["attention_mask"] == 0).float().mean()) for batch in data.train_dataloader()
    ]
    assert curve.points["train/padding"] == pytest.approx(expected, abs=1e-6)
    assert max(expected) > 0


class Curve(Logger):
    """Keeps what is logged: keys, and the points of each."""

    name = version = "curve"

    def __init__(self) -> None:
        super().__init__()
        self.keys: set[str] = set()
        self.points: dict[str, list[float]] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.keys |= set(metrics)
        for key, value in metrics.items():
            self.points.setdefault(key, []).append(value)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass


def test_a_validation_returns_what_it_measures_and_is_a_point_of_the_curve_unless_apart(
    tiny_bert: Path, tmp_path: Path
) -> None:
    module, curve, data = MultiTaskModule(str(tiny_bert)), Curve(), datamodule(tiny_bert)
    runner = trainer(tmp_path, logger=curve, log_every_n_steps=1)
    runner.fit(module, datamodule=data)
    points = curve.points["val/score/pearson"]
    before = list(points)
    (found,) = runner.validate(module, datamodule=data, verbose=False)
    assert points == [*before, before[-1]]
    assert found["val/score/pearson"] == pytest.approx(before[-1])
    # as the commands do with a finished checkpoint
    module.is_measured_apart = True
    trainer(tmp_path, logger=curve).validate(module, datamodule=data, verbose=False)
    assert points == [*before, before[-1]]
    assert module.results["val"]


def test_metrics_do_not_depend_on_the_batch_size(tiny_bert: Path, tmp_path: Path) -> None:
    module, found = MultiTaskModule(str(tiny_bert)), []
    for size in (1, 7, 64):
        data = datamodule(tiny_bert, eval_batch_size=size)
        trainer(tmp_path).validate(module, datamodule=data, verbose=False)
        found.append(module.results["val"])
    for results in found[1:]:
        for name, result in results.items():
            assert scalars(result) == pytest.approx(scalars(found[0][name]), rel=1e-4)
            assert result.get("confusion_matrix") == found[0][name].get("confusion_matrix")


def test_an_endless_schedule_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    module = MultiTaskModule(str(tiny_bert))
    with pytest.raises(ConfigError, match="max_epochs"):
        trainer(tmp_path, max_epochs=-1).fit(module, datamodule=datamodule(tiny_bert))


def test_lightnings_own_loading_rebuilds_the_module(tiny_bert: Path, tmp_path: Path) -> None:
    module = MultiTaskModule(str(tiny_bert), pretrained=False, pooling="max", normalize=True)
    runner = trainer(tmp_path)
    runner.fit(module, datamodule=datamodule(tiny_bert))
    path = tmp_path / "model.ckpt"
    runner.save_checkpoint(path)
    loaded = MultiTaskModule.load_from_checkpoint(path, weights_only=True, lr=1e-3)
    state = module.state_dict()
    assert all(torch.equal(state[name], value) for name, value in loaded.state_dict().items())
    assert loaded.tasks == module.tasks
    for name in ("backbone_name", "pretrained", "architecture"):
        assert getattr(loaded, name) == getattr(module, name), name
    assert loaded.rates.lr == 1e-3
    trainer(tmp_path).fit(loaded, datamodule=datamodule(tiny_bert))


def test_a_checkpoint_of_another_network_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    module, runner = MultiTaskModule(str(tiny_bert)), trainer(tmp_path)
    runner.fit(module, datamodule=datamodule(tiny_bert))
    path = tmp_path / "model.ckpt"
    runner.save_checkpoint(path)
    other = MultiTaskModule(str(tiny_bert), pooling="max")
    with pytest.raises(ConfigError, match=r"another architecture.*mean.*max"):
        trainer(tmp_path).fit(
            other, datamodule=datamodule(tiny_bert), ckpt_path=path, weights_only=True
        )


def test_resuming_with_another_declaration_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    module, runner = MultiTaskModule(str(tiny_bert)), trainer(tmp_path)
    runner.fit(module, datamodule=datamodule(tiny_bert))
    path = tmp_path / "model.ckpt"
    runner.save_checkpoint(path)
    spec = read_checkpoint(path)[SPEC_KEY]
    weighted = datamodule(tiny_bert, tasks={**DEFAULT_TASKS, "sentiment": Classification(weight=3)})
    changes = (
        (MultiTaskModule(pooling="max"), datamodule(tiny_bert)),
        (MultiTaskModule(), weighted),
    )
    for (changed, data), message in zip(changes, ("architecture", "weight=3"), strict=True):
        changed.restore(spec)
        with pytest.raises(ConfigError, match=message):
            trainer(tmp_path).fit(changed, datamodule=data, ckpt_path=path, weights_only=True)


@pytest.mark.filterwarnings("ignore:The checkpoint does not say how far")
@pytest.mark.parametrize("change", ["order", "name", "parameter"])
def test_other_groups_than_the_checkpoints_are_refused(
    tiny_bert: Path, tmp_path: Path, change: str
) -> None:
    """Law 7: torch matches groups and moments by position, whatever they are called."""
    path, changed = tmp_path / "model.ckpt", tmp_path / "changed.ckpt"
    runner = trainer(tmp_path, KeepEpoch(path, epoch=1), max_epochs=2)
    runner.fit(MultiTaskModule(str(tiny_bert)), datamodule=datamodule(tiny_bert))
    checkpoint = torch.load(path, weights_only=True)
    groups = checkpoint["optimizer_states"][0]["param_groups"]
    layers = [n for n, group in enumerate(groups) if group["name"].startswith("layer")]
    low, high = layers[0], layers[2]
    assert len(groups[low]["params"]) == len(groups[high]["params"]), "torch would not notice"
    if change == "order":
        groups[low], groups[high] = groups[high], groups[low]
    elif change == "name":
        groups[low]["name"] = "another"
    else:
        groups[low]["param_names"].reverse()
    torch.save(checkpoint, changed)
    message = "another group:" if change in ("order", "name") else "another parameters:"
    for file, refused in ((path, False), (changed, True)):
        again = MultiTaskModule(str(tiny_bert))
        expected = pytest.raises(ConfigError, match=message) if refused else nullcontext()
        with expected:
            trainer(tmp_path, max_epochs=2).fit(
                again, datamodule=datamodule(tiny_bert), ckpt_path=file, weights_only=True
            )


def test_the_datamodule_takes_the_modules_tokenizer(tiny_bert: Path, tmp_path: Path) -> None:
    module = MultiTaskModule(str(tiny_bert))
    data = SentimentDataModule(str(EXAMPLE_FILES), max_length=9, val_fraction=0.2)
    trainer(tmp_path).validate(module, datamodule=data, verbose=False)
    assert data.tokenizer is module.tokenizer
    assert module.tokenizer.model_max_length == 9, "the limit travels with the checkpoint"


def test_data_that_does_not_fit_the_model_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    module = MultiTaskModule(str(tiny_bert))
    module.build({"sentiment": Classification(labels=("bad", "good"))})
    with pytest.raises(DataError, match=r"negative\.txt:1: expected a label out of bad, good"):
        trainer(tmp_path).validate(module, datamodule=datamodule(tiny_bert), verbose=False)
    extra = MultiTaskModule(str(tiny_bert))
    data = datamodule(tiny_bert)
    data.setup("fit")
    with pytest.raises(ConfigError, match=r"sentiment.*negative"):
        trainer(tmp_path).validate(module, datamodule=data, verbose=False)
    extra.build({**data.tasks, "topic": Classification(labels=("a", "b"))})
    with pytest.raises(ConfigError, match=r"\['topic'\]"):
        trainer(tmp_path).fit(extra, datamodule=data)
    trainer(tmp_path).validate(extra, datamodule=data, verbose=False)
    assert extra.results["val"]["topic"]["n"] == 0


def test_without_tasks_there_is_no_network(tiny_bert: Path) -> None:
    with pytest.raises(ConfigError, match="not built"):
        _ = MultiTaskModule(str(tiny_bert)).network


class OwnOptimizer(MultiTaskModule):
    """Trains with SGD."""

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_subclass_may_have_an_optimizer_of_its_own(tiny_bert: Path, tmp_path: Path) -> None:
    module, runner = OwnOptimizer(str(tiny_bert)), trainer(tmp_path)
    runner.fit(module, datamodule=datamodule(tiny_bert))
    assert runner.global_step == 5


def test_a_network_that_only_forked_processes_would_build_is_refused(
    tiny_bert: Path, tmp_path: Path
) -> None:
    """What they have learned would be gone with them."""
    data, module = datamodule(tiny_bert), MultiTaskModule(str(tiny_bert))
    options: dict[str, Any] = {"strategy": "ddp_fork", "devices": 1}
    with pytest.raises(ProcessRaisedException, match="call `build` before `fit`"):
        trainer(tmp_path, **options).fit(module, datamodule=data)
    data.prepare_data()
    data.setup("fit")
    module.build(data.tasks)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    trainer(tmp_path, **options).fit(module, datamodule=data)
    assert any(not torch.equal(value, before[name]) for name, value in module.state_dict().items())
