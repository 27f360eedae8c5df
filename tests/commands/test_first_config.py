"""The settings suit what was found, and names of any kind stand in the config as they are."""

import json
from pathlib import Path

import pytest
import yaml

from lit_mtl.commands.train import configured
from tests.commands.test_init import written
from tests.commands.test_yaml_text import NASTY
from tests.conftest import EXAMPLE_FILES, Run


def test_the_plan_suits_the_number_of_labelled_sentences(
    lit_mtl: Run, tiny_bert: Path, tmp_path: Path
) -> None:
    stages = {}
    for rows in (100, 600, 3000):
        path = tmp_path / f"rows_{rows}.tsv"
        lines = "".join(f"sentence {n}\t{'ab'[n % 2]}\n" for n in range(rows))
        path.write_text(f"text\tlabel\n{lines}")
        assert lit_mtl("init", path, "--backbone", tiny_bert) == 0
        config = yaml.safe_load(Path(f"rows_{rows}.yaml").read_text())
        plan = config.get("freezing", {"stages": []})["stages"]
        stages[rows] = [stage["name"] for stage in plan]
        batch, epochs = config["data"]["batch_size"], config["trainer"]["max_epochs"]
        assert rows * 0.75 / batch * epochs > 200
    assert stages == {100: ["backbone_frozen"], 600: ["probe", "finetune"], 3000: []}


def test_without_the_backbone_at_hand_words_are_counted(lit_mtl: Run) -> None:
    assert lit_mtl("init", EXAMPLE_FILES, "--output", "my.yaml") == 0
    text = Path("my.yaml").read_text()
    assert "at most 12 words; a word is taken for 1.5 tokens" in text
    assert yaml.safe_load(text)["model"]["backbone"] == "bert-base-uncased"


def test_columns_of_nasty_names_are_those_that_fit_reads(lit_mtl: Run, tiny_bert: Path) -> None:
    for text, split, columns in (("1e3", "yes", NASTY), ("a: b", "2024", ["two\nlines", " #"])):
        names = set(columns) - {text, split}
        rows = [
            {
                text: f"a long text {n}",
                split: ("train", "dev", "test")[n % 3],
                **dict.fromkeys(names, "ab"[n // 3 % 2]),
            }
            for n in range(60)
        ]
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        written(lit_mtl, Path("rows.jsonl"), tiny_bert)
        source = configured("check-data", ["--config", "my.yaml"]).datamodule.sources["mine"]
        assert (source.text, source.split) == (text, split)
        assert source.tasks is not None
        assert sorted(source.tasks.values()) == sorted(names)
        Path("my.yaml").unlink()


def test_paths_of_any_name_stand_in_comments_and_commands(
    lit_mtl: Run, tiny_bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(60))
    Path("two\nlines.csv").write_text(f"text,label\n{lines}")
    words = ["init", "two\nlines.csv", "--backbone", tiny_bert, "--output", "my config.yaml"]
    capsys.readouterr()
    assert lit_mtl(*words) == 0
    assert "check-data --config 'my config.yaml'" in capsys.readouterr().out
    config = yaml.safe_load(Path("my config.yaml").read_text())
    assert config["data"]["sources"]["mine"]["path"] == "two\nlines.csv"
    assert lit_mtl("check-data", "--config", "my config.yaml") == 0
