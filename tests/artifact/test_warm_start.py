"""A warm start is the model that it goes on from, in the new run's labels and units."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lit_mtl import load
from lit_mtl.artifact.bundle import TrainedModel
from lit_mtl.artifact.warm_start import take_over
from lit_mtl.errors import ConfigError, StorageError
from lit_mtl.model.multitask import Architecture, MultiTaskModel
from lit_mtl.module import MultiTaskModule
from lit_mtl.tasks import (
    KINDS,
    Classification,
    Multilabel,
    Ordinal,
    RatingDistribution,
    Regression,
    RegressionWithSpread,
    Task,
)
from tests.artifact.test_folder import TEXTS, written
from tests.conftest import Run
from tests.model.families import family_config
from tests.runs import differing, last_state, run_folder

HELD: dict[str, Task] = {
    "label": Classification(labels=("x", "y", "z")),
    "aspects": Multilabel(labels=("p", "q")),
    "score": Regression(low=-4, high=4, center=0.5, scale=2),
    "bounded": Regression(low=0, high=10, center=3, scale=2, bounded=True),
    "ratings": RegressionWithSpread(low=1, high=5, center=3, scale=1),
    "votes": RatingDistribution(low=1, high=3, prior=(0.5, 0.2, 0.3)),
    "stars": Ordinal(low=1, high=4),
}

NEW: dict[str, Task] = {
    "label": Classification(labels=("z", "x", "y"), label_smoothing=0.1),
    "aspects": Multilabel(labels=("q", "p"), weight=0.5),
    # declared with another range, which predictions of a head this small do not reach
    "score": Regression(low=-5, high=6, center=-1, scale=0.3, loss="huber"),
    "bounded": Regression(low=0, high=10, center=8, scale=0.7, bounded=True),
    "ratings": RegressionWithSpread(low=1, high=5, center=2.5, scale=1.25),
    "votes": RatingDistribution(low=1, high=3, prior=(0.1, 0.1, 0.8), weight=3),
    "stars": Ordinal(low=1, high=4),
}


RANGES = "-4 to 4 there, -5 to 6 here"


def network(tasks: dict[str, Task], *, seed: int, **architecture: Any) -> MultiTaskModel:
    torch.manual_seed(seed)
    options = {"embedding_dim": 8, **architecture}
    return MultiTaskModel(
        family_config("bert"), tasks=tasks, architecture=Architecture(**options)
    ).eval()


def close(one: Any, other: Any, *, tolerance: float) -> bool:
    """Whether decoded predictions are equal, the order of labels aside."""
    if isinstance(one, dict):
        pairs = [close(value, other[key], tolerance=tolerance) for key, value in one.items()]
        return set(one) == set(other) and all(pairs)
    if isinstance(one, float):
        return bool(one == pytest.approx(other, abs=tolerance))
    return sorted(one) == sorted(other) if isinstance(one, list) else bool(one == other)


def test_every_kind_of_head_predicts_what_it_did() -> None:
    assert {task.kind for task in HELD.values()} == set(KINDS)
    held, new = network(HELD, seed=1), network(NEW, seed=2)
    before = {name: value.clone() for name, value in held.state_dict().items()}
    ids = torch.randint(
        5, family_config("bert").vocab_size, (6, 9), generator=torch.Generator().manual_seed(0)
    )
    mask = torch.ones_like(ids)

    taken = take_over(new, held)
    assert taken == (dict.fromkeys(sorted(HELD), "") | {"score": RANGES}, {}, {})
    with torch.no_grad():
        was, now = held(ids, mask), new(ids, mask)
    assert torch.equal(was.sentence_embedding, now.sentence_embedding)
    for old, own in zip(held.decode(was), new.decode(now), strict=True):
        # the bound of a spread's logarithm is around another unit
        assert old["ratings"].pop("spread") == pytest.approx(own["ratings"].pop("spread"), rel=0.01)
        assert close(old, own, tolerance=1e-5), (old, own)
    assert all(torch.equal(value, before[name]) for name, value in held.state_dict().items())


@pytest.mark.parametrize(
    ("held", "new", "reason"),
    [
        (
            Classification(labels=("x", "y")),
            Classification(labels=("x", "y", "z")),
            "other labels there: x, y",
        ),
        (
            Classification(labels=("x", "y")),
            Multilabel(labels=("x", "y")),
            "classification there",
        ),
        (Regression(low=0, high=1), Classification(labels=("x", "y")), "regression there"),
        (Regression(low=0, high=1), RegressionWithSpread(low=0, high=1), "regression there"),
        (Regression(low=0, high=1), Regression(low=0, high=1, bounded=True), "not bounded there"),
        (Regression(low=0, high=1, bounded=True), Regression(low=0, high=1), "bounded there"),
        (
            Regression(low=0, high=1, bounded=True),
            Regression(low=0, high=2, bounded=True),
            "0 to 1 there, 0 to 2 here",
        ),
        (
            RegressionWithSpread(low=0, high=1),
            Regression(low=0, high=1),
            "regression_with_spread there",
        ),
        (
            RatingDistribution(low=1, high=2),
            RatingDistribution(low=1, high=3),
            "1 to 2 there, 1 to 3 here",
        ),
        (Ordinal(low=1, high=2), Ordinal(low=1, high=3), "other outputs there"),
    ],
)
def test_a_head_that_means_something_else_begins_anew(held: Task, new: Task, reason: str) -> None:
    trained = network({"a": held, "b_score": held}, seed=1)
    fresh = network({"a": new, "b_scores": new, "c": new}, seed=2)
    before = fresh.head_layer("a").weight.clone()
    taken = take_over(fresh, trained)
    assert str(taken) == (
        f"its encoder is taken over; without its heads a, b_score; new heads a ({reason}), "
        "b_scores (none of this name there, perhaps b_score is meant), c"
    )
    assert torch.equal(fresh.head_layer("a").weight, before)


@pytest.mark.parametrize(
    ("option", "value"), [("pooling", "cls"), ("embedding_dim", 4), ("normalize", True)]
)
def test_an_encoder_of_another_form_is_refused(option: str, value: Any) -> None:
    trained, other = network(HELD, seed=1), network(NEW, seed=2, **{option: value})
    with pytest.raises(ConfigError, match=rf"has {option}=.*`model\.{option}` asks for {value!r}"):
        take_over(other, trained)


def test_only_a_folder_of_export_has_something_to_go_on_from(
    tiny_bert: Path, tmp_path: Path
) -> None:
    tasks = {"a": Classification(labels=("x", "y"))}
    for name, lacks in {
        str(tiny_bert): rf" \({tiny_bert / 'manifest.json'} is missing\)",
        str(tmp_path / "runs" / "best.ckpt"): "",
        "minilm": "",
    }.items():
        module = MultiTaskModule(name, warm_start=True)
        refusal = rf"model\.warm_start.* is none{lacks}\. `export --ckpt_path"
        with pytest.raises(ConfigError, match=refusal):
            module.tokenizer  # noqa: B018  what a fit needs first
    with pytest.raises(ConfigError, match=r"model\.warm_start.* is none"):
        MultiTaskModule(str(tiny_bert), warm_start=True).build(tasks)
    with pytest.raises(ConfigError, match="`pretrained` to be true"):
        MultiTaskModule(str(tiny_bert), warm_start=True, pretrained=False)
    model = written(tmp_path / "export")
    module = MultiTaskModule(str(tmp_path / "export"), warm_start=True, embedding_dim=8)
    module.build({"a": model.network.tasks["a"], "b": tasks["a"]})
    assert module.heads_taken_over == {"a"}
    own = TrainedModel(module.network, module.tokenizer).predict(TEXTS)
    assert [row["a"] for row in own] == [row["a"] for row in model.predict(TEXTS)]


FROZEN = "--freezing.stages=[{name: all, freeze: [all]}]"


def going_on(exported: Path, fit_arguments: list[str], *more: str) -> list[str]:
    kept = [word for word in fit_arguments if not word.startswith("--model.backbone")]
    return ["fit", *kept, f"--model.backbone={exported}", "--model.warm_start=true", *more]


def test_a_fit_that_trains_nothing_ends_as_it_began(
    lit_mtl: Run,
    exported: Path,
    fit_arguments: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On other sentences, whose scores are in another range and have another mean."""
    data = tmp_path / "sentences"
    data.mkdir()
    for name in ("positive", "negative"):
        (data / f"{name}.txt").write_text("".join(f"{name} film {n}\n" for n in range(20)))
    rows = [f"score film {n}\t{n / 30 - 0.1}" for n in range(20)]
    (data / "scores.tsv").write_text("\n".join(["text\tscore", *rows]) + "\n")
    words = going_on(
        exported, fit_arguments, FROZEN, f"--data.path={data}", "--head_init.method=fitted"
    )
    with caplog.at_level("INFO"):
        assert lit_mtl(*words) == 0
    said = [line for line in caplog.messages if line.startswith(str(exported))]
    assert said == [f"{exported}: its encoder is taken over; with its heads score, sentiment"]
    model = load(run_folder(tmp_path) / "checkpoints" / "best.ckpt")
    before = load(exported)
    texts = ["positive film 3", "a dull book", "x"]
    assert torch.equal(model.embed(texts), before.embed(texts))
    for own, old in zip(
        model.run(texts).heads.items(), before.run(texts).heads.items(), strict=True
    ):
        name, output = own
        score = name == "score"
        (center, scale), (old_center, old_scale) = (
            (task.center, task.scale) if isinstance(task, Regression) else (0, 1)
            for task in (model.network.tasks[name], before.network.tasks[name])
        )
        assert score == ((center, scale) != (old_center, old_scale)), "another unit"
        assert torch.allclose(output * scale + center, old[1] * old_scale + old_center, atol=1e-5)


def test_a_run_that_is_continued_has_its_own_weights_to_the_bit(
    lit_mtl: Run, exported: Path, fit_arguments: list[str], tmp_path: Path
) -> None:
    """With a protection, whose base is the model that it went on from."""
    words = going_on(
        exported, fit_arguments, "--protection.weight=1", "--checkpoint.every_n_steps=1"
    )
    names = [f"--trainer.logger.init_args.version={name}" for name in ("whole", "part")]
    assert lit_mtl(*words, names[0]) == 0
    runs = [tmp_path / "lightning_logs" / "runs" / name for name in ("whole", "part")]
    states = sorted((runs[0] / "checkpoints").glob("step_*.ckpt"), key=lambda path: len(path.name))
    assert lit_mtl(*words, names[1], f"--ckpt_path={states[0]}") == 0
    assert differing(*map(last_state, runs)) == []


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "heads.safetensors"]
)
def test_damage_is_told_by_its_file(name: str, tmp_path: Path) -> None:
    model = written(tmp_path / "export")
    path = tmp_path / "export" / name
    for content in (path.read_bytes()[:500][:-1], None):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        module = MultiTaskModule(str(tmp_path / "export"), warm_start=True, embedding_dim=8)
        with pytest.raises(StorageError, match=rf"{name}: (damaged|missing)"):
            module.tokenizer  # noqa: B018  what a fit needs first
        with pytest.raises(StorageError, match=rf"{name}: (damaged|missing)"):
            module.build(model.network.tasks)


def test_a_base_that_was_overwritten_is_none(
    lit_mtl: Run,
    exported: Path,
    fit_arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    start = shutil.copytree(exported, tmp_path / "start")
    assert lit_mtl(*going_on(start, fit_arguments, "--trainer.max_epochs=1")) == 0
    best = ["export", f"--ckpt_path={run_folder(tmp_path) / 'checkpoints' / 'best.ckpt'}"]
    assert lit_mtl(*best, "--output=shared", "--base_share=1") == 0
    base, shared = (load(folder).network.encoder.backbone for folder in (exported, "shared"))
    weights = shared.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in base.state_dict().items())
    assert lit_mtl(*best, f"--output={start}", "--overwrite") == 0
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"a fine film {n}\n" for n in range(120)))
    for words in (["--base_share=1"], [f"--align_to_base={texts}"]):
        capsys.readouterr()
        assert lit_mtl(*best, "--output=again", *words) == 2
        assert "has other weights now" in capsys.readouterr().err
        assert not Path("again").exists()


def test_principal_directions_would_replace_what_is_taken_over(
    lit_mtl: Run, exported: Path, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = going_on(exported, fit_arguments, "--projection_init.method=pca")
    assert lit_mtl(*words) != 0
    assert "would replace the projection that `model.warm_start`" in capsys.readouterr().err
