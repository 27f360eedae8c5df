"""A real run in a real TensorBoard in a real browser: each dashboard shows this run's data.

Run by `make test-browser`; it takes a Chromium and no network.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Page, browser
from tests.conftest import Run
from tests.runs import run_folder

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is found on the PATH"),
]

TEXT = "<b onclick=alert(1)>A fine film</b> | **with** `marks` & [links](javascript:alert(1))"

BOARDS: dict[str, tuple[str, list[str]]] = {
    "scalars": ("tf-scalar-card", ["gradient_norm", "gradient_cosine"]),
    "custom_scalars": (
        "tf-line-chart-data-loader",
        ["selecting metric", "sentiment, weighted", "norm by depth", "learning rate"],
    ),
    "images": ("img", ["best/sentiment/confusion_matrix", "best/score/predicted_against_true"]),
    "pr_curves": ("vz-line-chart2", ["best/sentiment/negative", "best/sentiment/positive"]),
    "hparams": ("table td", ["model.lr", "data.batch_size", "tiny_bert"]),
    "text": ("table td", ["worst_errors", "likely_label_errors", "target", "prediction"]),
}
"""Dashboard to what it draws with, and words of this run."""


def marked_data(folder: Path) -> Path:
    """Sentences all of which hold markup."""
    folder.mkdir()
    for label in ("positive", "negative"):
        lines = [f"{TEXT} {label} {number}\n" for number in range(40)]
        (folder / f"{label}.txt").write_text("".join(lines))
    rows = [f"{TEXT} rated {number}\t{number % 9 - 4}\n" for number in range(40)]
    (folder / "scores.tsv").write_text("text\tscore\n" + "".join(rows))
    return folder


def address(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Where TensorBoard says that it is, once it does."""
    end = time.monotonic() + 120
    while not (found := re.search(r"http://\S+", log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)
    return found[0]


@pytest.fixture
def words(tmp_path: Path, fit_arguments: list[str]) -> list[str]:
    return [*fit_arguments, f"--data.path={marked_data(tmp_path / 'marked')}"]


@contextmanager
def shown(tmp_path: Path) -> Iterator[tuple[Page, str]]:
    """A browser, and the address of a TensorBoard that reads the runs there are."""
    log = tmp_path / "tensorboard.txt"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", "lightning_logs", "--port=0"]
    with log.open("wb") as file:
        process = subprocess.Popen([*command, "--load_fast=false"], stdout=file, stderr=file)
    try:
        with browser(tmp_path / "profile") as found:
            yield found, address(log, process).rstrip("/")
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_each_dashboard_shows_the_run(words: list[str], tmp_path: Path, lit_mtl: Run) -> None:
    assert lit_mtl("fit", *words) == 0
    with shown(tmp_path) as (seen, root):
        look_at_each(seen, root, tmp_path)


def look_at_each(seen: Page, root: str, tmp_path: Path) -> None:
    for board, (drawn, expected) in BOARDS.items():
        seen.open(f"{root}/#{board}")
        seen.wait_for(*expected, selector=drawn)
        seen.screenshot(tmp_path / f"{board}.png")
        assert (tmp_path / f"{board}.png").stat().st_size > 20_000

    seen.open(f"{root}/#text")
    seen.wait_for("<b onclick=alert(1)>A fine film</b> | **with** `marks` & [links](javascript")
    assert seen.count("td b") == seen.count("td a") == seen.count("td code") == 0

    seen.open(f"{root}/#projector")
    seen.wait_for("sentences_after_training", "Dimension: 256", selector="canvas")
    points = (run_folder(tmp_path) / "projector" / "after.tsv").read_text().count("\n")
    seen.wait_for(f"Points: {points}")
    assert seen.errors == []


def test_hparams_sets_two_runs_side_by_side(words: list[str], tmp_path: Path, lit_mtl: Run) -> None:
    assert lit_mtl("fit", *words) == 0
    assert lit_mtl("fit", *words, "--data.batch_size=16") == 0
    # its first columns: one name of a setting, the values that differ, and the selecting metric
    runs = ("runs/version_0", "runs/version_1")
    expected = ("data.batch_size", *runs, "8.0000", "16.000", "best/selection")
    with shown(tmp_path) as (seen, root):
        seen.open(f"{root}/#hparams", width=2600)
        seen.wait_for(*expected, selector="table")
        seen.screenshot(tmp_path / "hparams_of_two.png")
