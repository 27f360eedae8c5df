"""Every config runs, and begins with the command that runs it."""

import re
from pathlib import Path

import pytest

from tests.conftest import EXAMPLE_FILES, ROOT, Run, save_tiny_backbone

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


PLANS = sorted((ROOT / "configs" / "freezing").glob("*.yaml"))


@pytest.mark.parametrize("plan", PLANS, ids=lambda path: path.stem)
def test_a_plan_composes_with_bert_base(lit_mtl: Run, twelve_layers: Path, plan: Path) -> None:
    words = [f"--model.backbone={twelve_layers}", f"--data.path={EXAMPLE_FILES}"]
    base = ["--config", str(ROOT / "configs" / "bert_base.yaml"), "--config", str(plan)]
    assert lit_mtl("fit", *base, *words, *BRIEF, "--trainer.max_epochs=5") == 0
    assert results_of("bert_base")


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
    rates = {
        line.split()[0].split("/")[0]: float(line.split()[-2])
        for line in capsys.readouterr().out.splitlines()
        if "/no_decay" in line
    }
    expected = {"heads.score": 2e-4, "heads.sentiment": 2e-4, "projection": 1e-4}
    expected["embeddings"] = 2e-5 * 0.95**13
    expected |= {f"layer_{layer}": 2e-5 * 0.95 ** (12 - layer) for layer in range(12)}
    assert rates == pytest.approx(expected, rel=5e-3)
