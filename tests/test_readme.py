"""What the README and the pages of docs/ show is what was printed, recorded or written."""

import json
import re
from pathlib import Path

import pytest

from lit_mtl.command_table import COMMANDS
from lit_mtl.commands.help import overview
from tests.conftest import ROOT
from tests.pages import EVERYTHING, README, TEXTS, blocks, run


def test_the_report_shown_is_what_check_data_prints(tmp_path: Path) -> None:
    for folder in ("configs", "examples"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    done = run("python -m lit_mtl check-data --config configs/debug.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in EVERYTHING


def test_the_overview_shown_is_what_help_prints() -> None:
    assert overview() in TEXTS[README]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name: str) -> None:
    assert f"lit_mtl {name}" in TEXTS[README]


def test_the_file_map_names_every_file() -> None:
    shown = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").split("## The files")[1]
    for path in (ROOT / "src" / "lit_mtl").rglob("*.py"):
        if path.name != "__init__.py":
            assert re.search(rf"\b{re.escape(path.name)}\b", shown), path.name
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert path.name in EVERYTHING


def test_the_make_targets_shown_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)", "\n".join(blocks("bash"))))
    assert {"quickstart", "test"} <= named <= targets


def test_the_tables_are_those_of_the_reference_run() -> None:
    """Nothing in the README's result is typed by hand, and nothing is left to be filled in."""
    reference = ROOT / "lightning_logs" / "reference" / "quickstart"
    table = (reference / "console.txt").read_text(encoding="utf-8")
    result = table[table.index("\nsentiment ") :].strip("\n").split("\ntraining took")[0].strip()
    assert result in TEXTS[README]
    minutes = json.loads((reference / "results.json").read_text())["training_seconds"] / 60
    assert f"{minutes:.1f} minutes" in TEXTS[README]
    embedded = (reference / "embed.txt").read_text(encoding="utf-8").strip()
    assert embedded in EVERYTHING
    for recorded in (ROOT / "benchmarks" / "results").glob("*.txt"):
        assert recorded.read_text(encoding="utf-8").strip() in EVERYTHING, recorded.name


def test_the_reference_run_is_good_enough() -> None:
    """The floor that the project set itself for its quickstart."""
    path = ROOT / "lightning_logs" / "reference" / "quickstart" / "results.json"
    test = json.loads(path.read_text())["results"]["test"]
    assert test["score"]["pearson"] >= 0.81
    assert test["sentiment"]["accuracy"] >= 0.85


def test_the_four_corpora_are_those_on_record() -> None:
    title, table, *_ = run(f"python {ROOT}/benchmarks/human_ratings.py --table").stdout.split(
        "\n\n"
    )
    assert title == "cpu, the config's own split:"
    assert table.strip() in TEXTS[README]
