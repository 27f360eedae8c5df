"""Every config runs, and begins with the command that runs it."""

import json
import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from lit_mtl.data.downloads import CORPORA
from tests.conftest import EXAMPLE_FILES, ROOT, Run, save_tiny_backbone
from tests.data.archive import SHARED, small_corpora
from tests.labelled_rows import FILE

CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))

BRIEF = [
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--data.val_fraction=0.2",
    "--data.test_fraction=0.2",
]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_begins_with_its_command(path: Path) -> None:
    head = path.read_text(encoding="utf-8").splitlines()[:5]
    name = path.relative_to(ROOT / "configs")
    assert any(
        re.search(rf"python -m lit_mtl fit .*--config configs/{re.escape(str(name))}", line)
        for line in head
    )


def results_of(name: str) -> list[Path]:
    return list(Path("lightning_logs", name).glob("version_*/results.json"))


def test_debug(lit_mtl: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("examples", "configs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    assert lit_mtl("fit", "--config", "configs/debug.yaml", *BRIEF[:2]) == 0
    assert results_of("debug")


def test_quickstart_with_the_packaged_encoder(lit_mtl: Run) -> None:
    """The real encoder and config; the corpus, which needs a network, is replaced by examples."""
    data = ["--data.corpus=null", f"--data.path={EXAMPLE_FILES}", "--trainer.max_steps=2"]
    config = ROOT / "configs" / "quickstart.yaml"
    assert lit_mtl("fit", "--config", config, *data, *BRIEF) == 0
    assert results_of("quickstart")


def test_human_ratings_share_one_encoder_and_label_their_own_heads_only(
    lit_mtl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real encoder and config; the archive, which needs a network, is replaced by a small one."""
    archive = small_corpora(tmp_path, monkeypatch)
    config = ROOT / "configs" / "human_ratings.yaml"
    words = [f"--data.corpus_archive={archive}", "--trainer.max_epochs=1", "--data.batch_size=16"]
    assert (
        lit_mtl(
            "fit",
            "--config",
            config,
            *words,
            *BRIEF,
            "--trainer.callbacks+=tests.labelled_rows.LabelledRows",
        )
        == 0
    )
    (results,) = results_of("human_ratings")
    measured = json.loads(results.read_text())["results"]
    tasks = [f"{name}_{kind}" for name in CORPORA for kind in ("sentiment", "score")]
    assert all(list(measured[split]) == tasks for split in ("val", "test"))
    assert all(found["n"] > 0 for split in measured.values() for found in split.values())

    found: dict[str, list[str]] = {}
    for line in Path(FILE).read_text().splitlines():
        found |= json.loads(line)
    assert len(found) > 100
    for text, labelled in found.items():
        corpora = ["movies", "tweets"] if text == SHARED else [text.split(" of ")[1].split(",")[0]]
        rated_zero = text != SHARED and int(text.split()[1]) % 9 == 4
        kinds = ["score"] if rated_zero else ["sentiment", "score"]
        assert sorted(labelled) == sorted(f"{name}_{kind}" for name in corpora for kind in kinds)


PLANS = sorted((ROOT / "configs" / "freezing").glob("*.yaml"))


@pytest.mark.parametrize("plan", PLANS, ids=lambda path: path.stem)
def test_a_plan_composes_with_bert_base(lit_mtl: Run, twelve_layers: Path, plan: Path) -> None:
    words = [f"--model.backbone={twelve_layers}", f"--data.path={EXAMPLE_FILES}"]
    base = ["--config", str(ROOT / "configs" / "bert_base.yaml"), "--config", str(plan)]
    cut = pytest.warns(UserWarning, match="before these stages begin: 'from_layer_7', .*'all'")
    with cut if plan.stem == "gradual" else nullcontext():
        assert lit_mtl("fit", *base, *words, *BRIEF, "--trainer.max_epochs=5") == 0
    assert results_of("bert_base")


OWN = ["--data.corpus=null", f"--data.path={EXAMPLE_FILES}"]


@pytest.mark.parametrize("base", ["debug", "quickstart"])
@pytest.mark.parametrize("plan", PLANS, ids=lambda path: path.stem)
def test_a_plan_composes_with_a_base_of_any_depth(
    lit_mtl: Run,
    base: str,
    plan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With two layers and with six; what is trainable is what the names of the stages promise."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    configs = [f"--config={ROOT / 'configs' / base}.yaml", f"--config={plan}"]
    assert lit_mtl("plan", *configs, *OWN, *BRIEF[2:]) == 0
    stages = yaml.safe_load(plan.read_text())["freezing"]["stages"]
    lines = capsys.readouterr().out.splitlines()
    table = lines[next(n for n, line in enumerate(lines) if line.startswith("stage ")) + 2 :]
    trainable = []
    for stage, line in zip(stages, table, strict=False):
        assert line.split()[0] == stage["name"]
        cells = [cell for cell in re.split(r"\s{2,}", line) if re.fullmatch(r"[\d,]+", cell)]
        trainable.append(int(cells[0].replace(",", "")))
    assert (trainable[0] == 0) == (plan.stem == "all_frozen")
    if plan.stem in ("gradual", "probe_then_finetune"):
        assert trainable == sorted(trainable)
        assert trainable[0] < trainable[-1]


def test_all_frozen_reports_and_changes_nothing(lit_mtl: Run, tiny_bert: Path) -> None:
    plan = ROOT / "configs" / "freezing" / "all_frozen.yaml"
    configs = [f"--config={ROOT / 'configs' / 'debug.yaml'}", f"--config={plan}"]
    words = [*configs, *OWN, *BRIEF, f"--model.backbone={tiny_bert}", "--model.pretrained=true"]
    assert lit_mtl("fit", *words) == 0
    assert lit_mtl("fit", *words, "--trainer.max_epochs=3") == 0
    folders = sorted(Path("lightning_logs/debug").iterdir())
    one, three = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in folders
    )
    assert (one["epoch"], three["epoch"]) == (1, 3)
    assert three["optimizer_states"][0]["state"] == {}
    for name, value in one["state_dict"].items():
        assert torch.equal(three["state_dict"][name], value)
    prefix = "_network.encoder.backbone.transformer."
    for name, value in load_file(tiny_bert / "model.safetensors").items():
        if not name.startswith("pooler."):
            assert torch.equal(three["state_dict"][prefix + name], value)
    assert len(results_of("debug")) == 2


@pytest.fixture
def twelve_layers(tmp_path: Path) -> Path:
    return save_tiny_backbone(tmp_path / "bert", num_hidden_layers=12)


def test_bert_base_with_twelve_narrow_layers(
    lit_mtl: Run, twelve_layers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real config and depth; the hub's weights are replaced by narrow random ones."""
    words = [f"--model.backbone={twelve_layers}", f"--data.path={EXAMPLE_FILES}"]
    config = ROOT / "configs" / "bert_base.yaml"
    assert lit_mtl("fit", "--config", config, *words, *BRIEF) == 0
    assert results_of("bert_base")
    table = capsys.readouterr().out.split("\npart ")[1].split("\ntotal")[0]
    rates = {line.split()[0]: float(line.split()[-1]) for line in table.splitlines()[2:]}
    expected = {"heads.score": 2e-4, "heads.sentiment": 2e-4, "projection": 1e-4}
    expected["embeddings"] = 2e-5 * 0.95**13
    expected |= {f"layer_{layer}": 2e-5 * 0.95 ** (12 - layer) for layer in range(12)}
    assert rates == pytest.approx(expected, rel=5e-3)
