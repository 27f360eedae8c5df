"""Law 15 for the cache: with it a run learns what it would without, and nothing stale is read."""

import logging
import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch.utils.data import DataLoader, Dataset

from lit_mtl.callbacks.prefix_cache import PrefixCache
from lit_mtl.callbacks.staged_freezing import StagedFreezing
from lit_mtl.data.batch import Batch
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.errors import ConfigError
from lit_mtl.module import MultiTaskModule
from lit_mtl.optim.freezing_plan import Stage
from tests.callbacks.test_staged_freezing import STEPS
from tests.conftest import example_data

POOLED = ("backbone",)
LOWEST = ("backbone.embeddings", "backbone.layers[0]")


class Losses(Callback):
    """Keeps the loss of every step and of every validation, and what is cached meanwhile."""

    def __init__(self) -> None:
        self.train: list[float] = []
        self.val: list[float] = []
        self.cached: list[list[str]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, MultiTaskModule)
        self.train.append(float(outputs["loss"]))
        self.cached.append(sorted(pl_module.cached_prefix))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.val.append(float(trainer.callback_metrics["val/loss"]))


def calls_of(module: MultiTaskModule, layer: int, calls: list[int]) -> None:
    """Let a layer write down how many rows it is called with."""
    layers = module.network.encoder.backbone._layers
    layers[layer].register_forward_hook(lambda _m, inputs, _o: calls.append(len(inputs[0])))


class Counts(Callback):
    """Counts the forward passes of the lowest and the top layer, epoch by epoch."""

    def __init__(self) -> None:
        self.epochs: list[tuple[int, int]] = []
        self.lowest: list[int] = []
        self.top: list[int] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, MultiTaskModule)
        calls_of(pl_module, 0, self.lowest)
        calls_of(pl_module, -1, self.top)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called behind the epoch's validation."""
        self.epochs.append((len(self.lowest), len(self.top)))
        self.lowest.clear()
        self.top.clear()


def fit(
    backbone: Path,
    stages: list[Stage],
    cache: PrefixCache,
    *callbacks: Callback,
    compile_layers: bool = False,
    eval_mode: bool = True,
    data: SentimentDataModule | None = None,
    ckpt_path: Path | None = None,
    **options: Any,
) -> tuple[MultiTaskModule, Losses, Trainer]:
    seed_everything(0, workers=True)
    module = MultiTaskModule(
        str(backbone), lr=1e-3, schedule="constant", compile_layers=compile_layers
    )
    losses = Losses()
    settings: dict[str, Any] = {"max_epochs": 2, "precision": "64-true", **options}
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[StagedFreezing(stages, eval_mode), cache, losses, *callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **settings,
    )
    data = example_data(backbone) if data is None else data
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return module, losses, trainer


@pytest.fixture
def caches(tmp_path: Path) -> Path:
    """An empty cache for each test, instead of the one of all tests."""
    return tmp_path / "caches"


def entries(caches: Path) -> set[str]:
    """The folders of what is stored of frozen layers, finished or not."""
    return {path.parent.name for path in caches.glob("lit_mtl/*/vectors")}


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in caplog.messages if "cached" in line]


@pytest.mark.parametrize("freeze", [POOLED, LOWEST], ids=["pooled", "lowest"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulate_grad_batches": 2},
        {"val_check_interval": 2},
        {"limit_val_batches": 0},
    ],
    ids=["plain", "accumulation", "mid-epoch validation", "no validation"],
)
def test_a_cached_run_learns_what_one_without_does(
    tiny_bert: Path, freeze: tuple[str, ...], options: dict[str, Any]
) -> None:
    """Every loss, metric and weight in double precision, with dropout above the prefix."""
    stages = [Stage(name="low", freeze=freeze)]
    expected, without, trainer = fit(tiny_bert, stages, PrefixCache("off"), **options)
    found, cached, other = fit(tiny_bert, stages, PrefixCache(), **options)
    splits = ["train"] if options.get("limit_val_batches") == 0 else ["train", "val"]
    assert cached.cached == [splits] * 2 * STEPS
    assert without.cached == [[]] * 2 * STEPS
    assert cached.train == pytest.approx(without.train, abs=1e-9)
    assert cached.val == pytest.approx(without.val, abs=1e-9)
    torch.testing.assert_close(
        found.network.state_dict(), expected.network.state_dict(), atol=1e-9, rtol=0
    )
    torch.testing.assert_close(
        dict(other.callback_metrics), dict(trainer.callback_metrics), atol=1e-9, rtol=0
    )


@pytest.mark.parametrize("freeze", [POOLED, LOWEST, ("all",)], ids=["pooled", "lowest", "all"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_in_other_precisions_it_differs_by_their_rounding(
    tiny_bert: Path, freeze: tuple[str, ...], precision: str
) -> None:
    stages = [Stage(name="low", freeze=freeze)]
    runs = [
        fit(tiny_bert, stages, PrefixCache(mode), precision=precision) for mode in ("off", "auto")
    ]
    (_, without, _), (_, cached, _) = runs
    assert all(cached.cached)
    tolerance = 1e-4 if precision == "32-true" else 2e-2
    assert cached.train == pytest.approx(without.train, abs=tolerance)
    assert cached.val == pytest.approx(without.val, abs=tolerance)


def test_two_cached_runs_are_equal_to_the_bit(tiny_bert: Path) -> None:
    stages = [Stage(name="low", freeze=LOWEST)]
    one, other = (fit(tiny_bert, stages, PrefixCache())[0].network.state_dict() for _ in range(2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("freeze", "above"), [(POOLED, False), (LOWEST, True)], ids=["pooled", "lowest"]
)
def test_the_prefix_runs_once_for_each_row_and_never_again(
    tiny_bert: Path, freeze: tuple[str, ...], above: bool
) -> None:
    counts = Counts()
    data = example_data(tiny_bert)
    fit(
        tiny_bert,
        [Stage(name="low", freeze=freeze)],
        PrefixCache(),
        counts,
        data=data,
        max_epochs=3,
    )
    assert data.corpus is not None
    validations = math.ceil(len(data.corpus.splits["val"]) / data.eval_batch_size)
    (first, _), *later = counts.epochs
    # a batch that shows the type, and one a split: all rows of the examples fit into it
    assert first == 3
    assert later == [(0, (STEPS + validations) * above)] * 2


def test_each_stage_has_a_cache_of_its_own_and_leaves_no_file(
    tiny_bert: Path, caches: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Files(Callback):
        def __init__(self) -> None:
            self.seen: list[frozenset[str]] = []

        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            self.seen.append(frozenset(entries(caches)))

    stages = [
        Stage(name="probe", freeze=POOLED, until_epoch=2),
        Stage(name="top", freeze=LOWEST, until_epoch=4),
        Stage(name="all", until_epoch=6),
        Stage(name="again", freeze=LOWEST),
    ]
    files = Files()
    before = entries(caches)
    with caplog.at_level(logging.INFO):
        module, cached, _ = fit(tiny_bert, stages, PrefixCache(), files, max_epochs=8)
    expected, without, _ = fit(tiny_bert, stages, PrefixCache("off"), max_epochs=8)
    assert cached.train == pytest.approx(without.train, abs=1e-9)
    torch.testing.assert_close(
        module.network.state_dict(), expected.network.state_dict(), atol=1e-9, rtol=0
    )
    probe, top, whole, again = files.seen[0], files.seen[2], files.seen[4], files.seen[6]
    assert [len(files - before) for files in (probe, top, whole, again)] == [2, 2, 0, 2]
    # what the lowest layers give after they have learned is other than what they gave before
    assert len(probe | top | again) == 6 + len(before)
    assert entries(caches) == before
    assert [line.split(":")[0] for line in lines_of(caplog)[:4]] == [
        f"Stage {stage.name!r}" for stage in stages
    ]
    assert "MB of pooled vectors are cached" in lines_of(caplog)[0]
    assert "MB of hidden states are cached" in lines_of(caplog)[1]
    assert "nothing is cached of the frozen layers: the embeddings train" in lines_of(caplog)[2]


def test_stages_with_the_same_prefix_share_a_cache(
    tiny_bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is too short to pay alone; a continued run reads in the second what it would have read."""
    stages = [
        Stage(name="one", freeze=LOWEST, until_epoch=1),
        Stage(name="two", freeze=(*LOWEST, "heads.score"), until_epoch=2),
        Stage(name="three"),
    ]
    counts = Counts()
    with caplog.at_level(logging.INFO):
        _, losses, _ = fit(tiny_bert, stages, PrefixCache(), counts, max_epochs=3)
    assert [lowest for lowest, _ in counts.epochs] == [3, 0, STEPS + 1]
    assert [bool(cached) for cached in losses.cached] == [True] * 2 * STEPS + [False] * STEPS
    assert "cached already" in lines_of(caplog)[1]


@pytest.mark.parametrize(
    ("stages", "options", "reason"),
    [
        ([Stage(name="a", freeze=POOLED)], {"cache": PrefixCache("off")}, "mode` is off"),
        ([Stage(name="a", freeze=("backbone.layers[0]",))], {}, "embeddings train"),
        ([Stage(name="a", freeze=("backbone.embeddings",))], {}, "only the embeddings"),
        ([Stage(name="a", freeze=LOWEST)], {"eval_mode": False}, "eval_mode"),
        ([Stage(name="a", freeze=LOWEST)], {"max_epochs": 1}, "no row comes a second time"),
        ([Stage(name="a", freeze=LOWEST)], {"limit_train_batches": 1}, "no row comes a second"),
        ([Stage(name="a", freeze=LOWEST, until_step=5), Stage(name="b")], {}, "no row comes"),
        # the epoch's last step has one batch: two steps of four are no two epochs
        (
            [Stage(name="a", freeze=LOWEST, until_epoch=1), Stage(name="b")],
            {"accumulate_grad_batches": 4},
            "no row comes",
        ),
        ([Stage(name="a", freeze=LOWEST)], {"cache": PrefixCache(max_gb=1e-6)}, "1e-06"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*trains below a frozen part")
def test_where_it_is_not_exact_or_does_not_pay_there_is_none_and_the_reason_is_given(
    stages: list[Stage],
    options: dict[str, Any],
    reason: str,
    tiny_bert: Path,
    caches: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = options.pop("cache", None) or PrefixCache()
    before = entries(caches)
    with caplog.at_level(logging.INFO):
        _, losses, _ = fit(tiny_bert, stages, cache, **options)
    assert not any(losses.cached)
    assert "Stage 'a': nothing is cached of the frozen layers: " in lines_of(caplog)[0]
    assert reason in lines_of(caplog)[0]
    assert entries(caches) == before


def test_one_step_more_than_an_epoch_pays(tiny_bert: Path) -> None:
    stages = [Stage(name="a", freeze=LOWEST, until_step=STEPS + 1), Stage(name="b")]
    _, losses, _ = fit(tiny_bert, stages, PrefixCache())
    assert [bool(cached) for cached in losses.cached] == [True] * 6 + [False] * 4


@pytest.mark.parametrize("command", ["validate", "test"])
def test_nothing_outside_the_training_reads_it(tiny_bert: Path, command: str) -> None:
    """The weights that are measured may be others, such as those of the best checkpoint."""
    module, _, trainer = fit(tiny_bert, [Stage(name="low", freeze=LOWEST)], PrefixCache())
    assert module.cached_prefix == {}
    with torch.no_grad():
        for parameter in module.network.encoder.backbone.parameters():
            parameter.add_(torch.randn_like(parameter))
    data = example_data(tiny_bert)
    getattr(trainer, command)(module, datamodule=data, verbose=False)
    split = "val" if command == "validate" else "test"
    measured = module.outputs[split]
    fresh = MultiTaskModule(str(tiny_bert))
    fresh.build(module.tasks)
    fresh.network.load_state_dict(module.network.state_dict())
    plain = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    getattr(plain, command)(fresh, datamodule=data, verbose=False)
    for name, (outputs, _) in fresh.outputs[split].items():
        torch.testing.assert_close(measured[name][0], outputs, atol=1e-5, rtol=1e-5)


class Fails(Callback):
    """Ends the training with an error at a step."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == 2:
            raise RuntimeError("enough")


def test_an_interrupted_run_leaves_its_files_and_the_next_one_reads_them(
    tiny_bert: Path, caches: Path
) -> None:
    stages = [Stage(name="low", freeze=LOWEST)]
    before = entries(caches)
    with pytest.raises(RuntimeError, match="enough"):
        fit(tiny_bert, stages, PrefixCache(), Fails())
    assert len(entries(caches) - before) == 2
    counts = Counts()
    fit(tiny_bert, stages, PrefixCache(), counts)
    assert counts.epochs[0][0] == 1, "only the batch that shows the type"
    assert entries(caches) == before


def test_files_that_are_kept_serve_later_runs_with_other_heads(
    tiny_bert: Path, caches: Path
) -> None:
    before = entries(caches)
    stages = [Stage(name="low", freeze=POOLED)]
    fit(tiny_bert, stages, PrefixCache(keep=True))
    kept = entries(caches)
    assert len(kept - before) == 2
    counts = Counts()
    other = [Stage(name="other", freeze=POOLED, lr_scale=0.5)]
    fit(tiny_bert, other, PrefixCache(), counts, max_epochs=2)
    assert counts.epochs[0][0] == 1
    assert entries(caches) == before


KEPT: dict[str, Any] = {"freeze": LOWEST, "max_length": 128, "precision": "32-true", "scale": 1.0}


@pytest.mark.parametrize(
    "change",
    [
        {"freeze": POOLED},
        {"max_length": 5},
        {"precision": "bf16-mixed"},
        {"precision": "64-true"},
        {"scale": 1.0 + 1e-6},
    ],
    ids=str,
)
def test_any_change_of_the_key_gives_another_cache(
    change: dict[str, Any], tiny_bert: Path, caches: Path, tmp_path: Path
) -> None:
    """Boundary, token ids, precision, and a single weight of the prefix in its last digits."""

    class OneWeight(Callback):
        def __init__(self, scale: float) -> None:
            self.scale = scale

        def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            assert isinstance(pl_module, MultiTaskModule)
            layer = pl_module.network.encoder.backbone._layers[0]
            with torch.no_grad():
                next(layer.parameters())[0, 0] *= self.scale

    found = []
    for values in (KEPT, KEPT | change):
        before = entries(caches)
        data = example_data(
            tiny_bert, max_length=values["max_length"], cache_dir=str(caches / "lit_mtl")
        )
        fit(
            tiny_bert,
            [Stage(name="low", freeze=values["freeze"])],
            PrefixCache(keep=True),
            OneWeight(values["scale"]),
            data=data,
            precision=values["precision"],
            max_epochs=2,
        )
        found.append(entries(caches) - before)
    assert len(found[1]) == 2
    assert not found[0] & found[1]


def test_a_weight_above_the_boundary_changes_nothing(tiny_bert: Path, caches: Path) -> None:
    fit(tiny_bert, [Stage(name="a", freeze=LOWEST)], PrefixCache(keep=True), max_epochs=2)
    before = entries(caches)
    # trained in between, all but the lowest layer
    stages = [Stage(name="a", freeze=LOWEST, until_epoch=1), Stage(name="b", freeze=LOWEST)]
    fit(tiny_bert, stages, PrefixCache(keep=True), max_epochs=3)
    assert entries(caches) == before


def test_a_disk_that_is_full_leaves_no_file_and_does_not_stop_the_run(
    tiny_bert: Path, caches: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    data = example_data(tiny_bert)
    data.prepare_data()
    prepared = set((caches / "lit_mtl").iterdir())
    monkeypatch.setattr("lit_mtl.data.prefix_store.os.fsync", full)
    with caplog.at_level(logging.INFO):
        _, losses, _ = fit(tiny_bert, [Stage(name="low", freeze=LOWEST)], PrefixCache(), data=data)
    assert "No space left on device" in lines_of(caplog)[0]
    assert not any(losses.cached)
    assert len(losses.train) == 2 * STEPS
    assert set((caches / "lit_mtl").iterdir()) == prepared


def test_a_cache_that_would_not_fit_the_disk_is_not_begun(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Usage:
        free = 100

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
    with caplog.at_level(logging.INFO):
        fit(tiny_bert, [Stage(name="low", freeze=LOWEST)], PrefixCache(), max_epochs=2)
    assert "more than is free there" in lines_of(caplog)[0]


def test_a_plain_loader_has_no_rows_by_number(
    tiny_bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = example_data(tiny_bert)
    data.setup("fit")
    batches = cast(Dataset[Batch], list(data.train_dataloader()))
    loader: DataLoader[Batch] = DataLoader(batches, batch_size=None)
    module = MultiTaskModule(str(tiny_bert))
    module.build(data.tasks)
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[StagedFreezing([Stage(name="low", freeze=LOWEST)]), PrefixCache()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=2,
    )
    with caplog.at_level(logging.INFO):
        trainer.fit(module, loader)
    assert "do not come from a SentimentDataModule" in lines_of(caplog)[0]


def test_it_has_to_stand_behind_what_it_follows(tiny_bert: Path) -> None:
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[PrefixCache(), StagedFreezing([Stage(name="low", freeze=LOWEST)])],
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
    )
    with pytest.raises(ConfigError, match="behind StagedFreezing"):
        trainer.fit(MultiTaskModule(str(tiny_bert)), datamodule=example_data(tiny_bert))


@pytest.mark.parametrize("options", [{"mode": "on"}, {"max_gb": 0}])
def test_a_wrong_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        PrefixCache(**options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_compiled_layers_go_on_from_a_prefix(steady_bert: Path) -> None:
    stages = [Stage(name="low", freeze=LOWEST)]
    options: dict[str, Any] = {"max_epochs": 2}
    eager, without, _ = fit(steady_bert, stages, PrefixCache("off"), **options)
    found, cached, _ = fit(steady_bert, stages, PrefixCache(), compile_layers=True, **options)
    assert all(cached.cached)
    assert cached.train == pytest.approx(without.train, abs=1e-9)
    torch.testing.assert_close(
        found.network.state_dict(), eager.network.state_dict(), atol=1e-9, rtol=0
    )


@pytest.mark.filterwarnings("ignore:The checkpoint does not say how far")
def test_the_rest_of_a_stage_reads_what_its_beginning_did(tiny_bert: Path, tmp_path: Path) -> None:
    """Continued with less than an epoch left, where a new run would not begin a cache."""

    class Keep(Callback):
        def on_train_batch_end(
            self,
            trainer: Trainer,
            pl_module: LightningModule,
            outputs: Any,
            batch: Any,
            batch_idx: int,
        ) -> None:
            if (trainer.current_epoch, batch_idx) == (1, STEPS - 1):
                trainer.save_checkpoint(tmp_path / "one.ckpt")

    stages = [Stage(name="low", freeze=LOWEST)]
    fit(tiny_bert, stages, PrefixCache(), Keep(), max_epochs=3)
    _, losses, _ = fit(
        tiny_bert, stages, PrefixCache(), ckpt_path=tmp_path / "one.ckpt", max_epochs=3
    )
    assert losses.train
    assert all(losses.cached)
