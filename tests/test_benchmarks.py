"""The benchmarks run; their figures are nobody's test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import EXAMPLE_FILES, ROOT, save_tiny_backbone


def run(script: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *options],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_step_cost_prints_a_row_a_scheme_with_its_expected_cost(tmp_path: Path) -> None:
    backbone = save_tiny_backbone(tmp_path / "bert", num_hidden_layers=3, vocab_size=20_000)
    printed = run("step_cost.py", "--rounds=2", "--threads=1", f"--backbone={backbone}")
    rows = [line.rsplit(None, 2) for line in printed.splitlines()[2:]]
    assert [row[1] for row in rows] == ["1.00", "0.56", "0.78", "0.33"]
    assert int(rows[3][2]) <= int(rows[1][2]) <= int(rows[0][2])


def test_exactness_cost_prints_both_ratios_and_a_save(tiny_bert: Path) -> None:
    options = ["--rounds=1", "--steps=2", f"--backbone={tiny_bert}", f"--data={EXAMPLE_FILES}"]
    lines = run("exactness_cost.py", *options).splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == [
        "step with over without",
        "the machinery's own calls",
    ]
    assert lines[2].startswith("a save takes")


def test_the_table_of_plans_is_that_of_the_recorded_runs_and_in_the_readme() -> None:
    printed = run("compare_plans.py", "--table").strip()
    lines = (ROOT / "benchmarks" / "results" / "compare_plans.jsonl").read_text().splitlines()
    assert len(printed.splitlines()) == 2 + len({json.loads(line)["plan"] for line in lines})
    assert printed in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.faults
def test_chaos_on_a_small_run_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    config = str(ROOT / "configs" / "debug.yaml")
    options = ["--kills=2", "--within=12", f"--folder={tmp_path}", "--trainer.max_epochs=300"]
    printed = run("chaos.py", f"--config={config}", *options)
    assert "entries of the last checkpoint that differ: none\nresults: equal" in printed
