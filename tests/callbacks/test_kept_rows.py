import json
from pathlib import Path

import pytest

from lit_mtl.callbacks.kept_rows import ROWS_FILE
from lit_mtl.evaluation import measure
from lit_mtl.paired import load_rows, row_keys
from tests.conftest import EXAMPLE_FILES
from tests.runs import run_folder
from tests.test_ddp import TWO, run


@pytest.mark.slow
@pytest.mark.parametrize("devices", [[], TWO], ids=["one process", "two processes"])
def test_what_is_kept_gives_the_results_of_the_run(
    devices: list[str], fit_arguments: list[str], tmp_path: Path
) -> None:
    """Each labelled test sentence once, with its own target, also where two processes share them."""
    words = ["fit", *fit_arguments, "--trainer.max_epochs=1", "--data.test_fraction=0.4"]
    words += ["--trainer.callbacks+=lit_mtl.callbacks.kept_rows.KeptRows"]
    run(tmp_path / "place", *words, *devices)
    folder = run_folder(tmp_path / "place")
    kept = load_rows(folder / ROWS_FILE)
    results = json.loads((folder / "results.json").read_text())["results"]["test"]
    assert set(kept) == {"sentiment", "score"}
    for name, rows in kept.items():
        measured = measure(rows.task, rows.output, rows.target)
        assert json.loads(json.dumps(measured)) == results[name]
        assert len(set(rows.keys)) == len(rows.target) > 5
    lines = (EXAMPLE_FILES / "positive.txt").read_text(encoding="utf-8").splitlines()
    positive = set(row_keys(lines))
    targets = dict(zip(kept["sentiment"].keys, kept["sentiment"].target.tolist(), strict=True))
    assert {key for key, target in targets.items() if target == 1} == positive & set(targets)
