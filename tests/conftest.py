"""Real components in small: a tiny BERT with weights, the example sentences, the command line."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, settings
from transformers import AutoConfig, AutoModel, AutoTokenizer

from lit_mtl.artifact.export import export
from lit_mtl.cli import main
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.pretrained import load_tokenizer

# a busy machine makes single examples slow, and a change must not pass or fail by luck
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")

ROOT = Path(__file__).parents[1]
EXAMPLE_FILES = ROOT / "examples" / "own_files"
TINY_BERT = ROOT / "examples" / "tiny_bert"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where prepared data are kept while the tests run."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(autouse=True)
def _own_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caches: Path
) -> Iterator[None]:
    """A folder and an environment for each test, whatever it leaves in them.

    Lightning's launcher leaves `LOCAL_RANK`, with which the processes of a later test would wait for
    others that nobody starts.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(caches))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("LIT_MTL_ALLOW_IMPORTS", "tests")
    with mock.patch.dict(os.environ):
        yield


def save_tiny_backbone(folder: Path, **changes: object) -> Path:
    """Save a tiny BERT with random weights and a tokenizer, as a pre-trained one lies on disk."""
    config = AutoConfig.from_pretrained(TINY_BERT)
    config.update(changes)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(TINY_BERT).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_backbone(tmp_path_factory.mktemp("tiny_bert"))


@pytest.fixture(scope="session")
def steady_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny backbone without dropout, for comparisons by number."""
    folder = tmp_path_factory.mktemp("steady_bert")
    return save_tiny_backbone(folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def example_data(backbone: Path, **options: Any) -> SentimentDataModule:
    """The example sentences in batches of eight, with a backbone's tokenizer."""
    settings = {"batch_size": 8, "val_fraction": 0.2, "test_fraction": 0.2, **options}
    path = settings.pop("path", EXAMPLE_FILES)
    data = SentimentDataModule(None if path is None else str(path), **settings)
    data.tokenizer = load_tokenizer(str(backbone))
    return data


Run = Callable[..., int]


def many_sentences(folder: Path) -> Path:
    """The example sentences in eight wordings each, enough to calibrate on."""
    folder.mkdir()
    for name in ("positive.txt", "negative.txt"):
        lines = (EXAMPLE_FILES / name).read_text(encoding="utf-8").splitlines()
        text = "".join(f"{line} {'so ' * times}\n" for line in lines for times in range(8))
        (folder / name).write_text(text, encoding="utf-8")
    header, *rows = (EXAMPLE_FILES / "scores.tsv").read_text(encoding="utf-8").splitlines()
    column = header.split("\t").index("text")
    scores = [header]
    for row in rows:
        for times in range(8):
            cells = row.split("\t")
            cells[column] += f" {'so ' * times}"
            scores.append("\t".join(cells))
    (folder / "scores.tsv").write_text("\n".join(scores) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def calibrated(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """The best checkpoint of a run on enough sentences to be calibrated; not to be changed."""
    folder = tmp_path_factory.mktemp("calibrated")
    data = many_sentences(folder / "sentences")
    words = [
        "fit",
        f"--data.path={data}",
        f"--model.backbone={tiny_bert}",
        "--data.val_fraction=0.3",
        "--data.test_fraction=0.2",
        "--model.lr=2e-3",
        "--trainer.max_epochs=2",
        "--trainer.accelerator=cpu",
        "--trainer.precision=32-true",
        "--trainer.enable_progress_bar=false",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(sys, "argv", ["lit_mtl", *words])
        assert main(words) == 0
    return folder / "lightning_logs" / "runs" / "version_0" / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="session")
def exported(calibrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That checkpoint as a folder with both ONNX graphs; not to be changed."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    texts = [f"a fine film {number}" for number in range(20)]
    export(calibrated, folder, onnx=True, int8_texts=("films.txt", texts))
    return folder


@pytest.fixture
def lit_mtl(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process as `python -m lit_mtl` would."""

    def run(*args: str | Path) -> int:
        words = [str(word) for word in args]
        monkeypatch.setattr(sys, "argv", ["lit_mtl", *words])
        return main(words)

    return run


@pytest.fixture
def fit_arguments(tiny_bert: Path) -> list[str]:
    """A run of two epochs on the example sentences; options behind it override these."""
    return [
        f"--data.path={EXAMPLE_FILES}",
        "--data.batch_size=8",
        "--data.val_fraction=0.2",
        "--data.test_fraction=0.2",
        f"--model.backbone={tiny_bert}",
        "--model.lr=1e-3",
        "--trainer.max_epochs=2",
        "--trainer.accelerator=cpu",
        "--trainer.precision=32-true",
        "--trainer.log_every_n_steps=1",
        "--trainer.enable_progress_bar=false",
    ]
