"""The benchmarks run; their figures are nobody's test."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, save_tiny_backbone


def test_step_cost_prints_a_row_a_scheme_with_its_expected_cost(tmp_path: Path) -> None:
    backbone = save_tiny_backbone(tmp_path / "bert", num_hidden_layers=3, vocab_size=20_000)
    script = str(ROOT / "benchmarks" / "step_cost.py")
    done = subprocess.run(
        [sys.executable, script, "--rounds=2", "--threads=1", f"--backbone={backbone}"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.rsplit(None, 2) for line in done.stdout.splitlines()[2:]]
    assert [row[1] for row in rows] == ["1.00", "0.56", "0.78", "0.33"]
    assert int(rows[3][2]) <= int(rows[1][2]) <= int(rows[0][2])
