"""What init writes is read by fit as it is, and says why."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import EXAMPLE_FILES, Run


def written(lit_mtl: Run, path: Path, backbone: Path) -> tuple[dict[str, Any], str]:
    assert lit_mtl("init", path, "--backbone", backbone, "--output", "my.yaml") == 0
    text = Path("my.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text), text


def test_a_folder_of_labels_and_scores(lit_mtl: Run, tiny_bert: Path) -> None:
    config, text = written(lit_mtl, EXAMPLE_FILES, tiny_bert)
    assert config["tasks"] == {
        "sentiment": {"kind": "classification"},
        "score": {"kind": "regression", "low": -3.4, "high": 3.4},
    }
    assert "# sentiment: 2 labels: negative 20, positive 20" in text
    assert "34 labelled training sentences are few" in text
    assert config["freezing"]["stages"][0]["freeze"] == ["backbone"]


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """A table as people have them: other names, a split, ids, gaps, and a contradiction."""
    rows = [
        {
            "id": n,
            "Review body": f"review number {n} was {'good' if n % 2 else 'bad'}",
            "class": ("good" if n % 2 else "bad") if n % 7 else None,
            "Stars (1-5)": 1 + n % 5,
            "topics": ["plot", "actors"][: n % 3] if n % 11 else None,
            "part": ("train", "train", "train", "dev", "test")[n % 5],
        }
        for n in range(300)
    ]
    rows.append({**rows[1], "class": "bad"})
    path = tmp_path / "reviews.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_table_with_columns_of_any_name_is_understood_and_fit_runs_it_unchanged(
    lit_mtl: Run, tiny_bert: Path, reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, text = written(lit_mtl, reviews, tiny_bert)
    assert config["data"]["sources"]["mine"] == {
        "path": str(reviews),
        "tasks": {"class": "class", "stars_1_5": "Stars (1-5)", "topics": "topics"},
        "text": "Review body",
        "split": "part",
    }
    kinds = {name: task["kind"] for name, task in config["tasks"].items()}
    assert sorted(kinds.values()) == ["classification", "multilabel", "ordinal"]
    assert "# id: not learned, it numbers the rows" in text
    assert "sentences with several labels: 1 for class" in text
    assert config["data"]["contradictions"] == "drop"
    assert config["data"]["max_length"] % 8 == 0
    brief = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu"]
    assert lit_mtl("check-data", "--config", "my.yaml") == 0
    capsys.readouterr()
    assert lit_mtl("fit", "--config", "my.yaml", *brief, "--trainer.enable_progress_bar=false") == 0
    results = json.loads(Path("lightning_logs/runs/version_0/results.json").read_text())
    assert set(results["results"]["test"]) == set(kinds)


def test_a_file_that_is_there_is_not_written_over(
    lit_mtl: Run, tiny_bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("my.yaml").write_text("mine\n")
    words = ["init", EXAMPLE_FILES, "--backbone", tiny_bert, "--output", "my.yaml"]
    assert lit_mtl(*words) == 2
    assert "my.yaml: is there already" in capsys.readouterr().err
    assert Path("my.yaml").read_text() == "mine\n"
