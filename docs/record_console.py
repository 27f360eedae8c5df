"""Runs the commands of docs/console.md and writes what they print into it: `docs/record_console.py`.

A block stands behind a comment `<!-- record NAME -->`. `RECORDS` says what is run for it.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "console.md"

_FIT = ["fit", "--config", "configs/debug.yaml"]
_AGAIN = [*_FIT, "--ckpt_path", "auto"]

RECORDS = {
    "help": ["--help"],
    "fit_help": ["fit", "--help"],
    "bad_file": [*_FIT, "--data.path", "bad"],
    "unknown_option": [*_FIT, "--model.lrr", "1e-3"],
    "interrupted": _AGAIN,
    "continued": _AGAIN,
    "quiet": [*_FIT, "--quiet"],
}
"""Name of a block to the words behind `python -m lit_mtl`, in the order in which they are run."""

_INTERRUPTED = """
import os, signal, sys
from lit_mtl.cli import main
from lit_mtl.module import MultiTaskModule
step, count = MultiTaskModule.training_step, []
def interrupted(self, *args):
    count.append(0)
    if len(count) == 8:
        os.kill(os.getpid(), signal.SIGINT)
    return step(self, *args)
MultiTaskModule.training_step = interrupted
sys.exit(main(sys.argv[1:]))
"""
"""`python -m lit_mtl`, in whose eighth step somebody presses Ctrl-C."""

_BLOCK = re.compile(r"(<!-- record (\w+) -->\n```\n).*?(?=\n```)", re.DOTALL)


def normalised(text: str) -> str:
    """The text without what differs from one run to the next: how long something took."""
    return re.sub(r"\d+(\.\d)? (seconds|minutes)\b", "2 seconds", text).strip()


def recorded(folder: Path) -> Iterator[tuple[str, str]]:
    """Run the commands in a folder; yield each block's name and its text.

    The folder gets links to the configs and examples, and a table with a mistake in it.
    """
    for name in ("configs", "examples"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "bad").mkdir()
    (folder / "bad" / "scores.tsv").write_text("text\tscore\nA fine film.\t3\nA bore.\t-9\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100"}
    for name, words in RECORDS.items():
        program = ["-c", _INTERRUPTED] if name == "interrupted" else ["-m", "lit_mtl"]
        done = subprocess.run(
            [sys.executable, *program, *words],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        shown = f"$ python -m lit_mtl {' '.join(words)}\n{normalised(done.stdout)}"
        yield name, shown + (f"\n(exit code {done.returncode})" if done.returncode else "")


def page() -> str:
    """The page with fresh blocks."""
    with tempfile.TemporaryDirectory() as folder:
        blocks = dict(recorded(Path(folder)))
    console = ROOT / "lightning_logs" / "reference" / "quickstart" / "console.txt"
    blocks["quickstart"] = console.read_text(encoding="utf-8").strip()
    figures = ROOT / "benchmarks" / "results" / "help_time.txt"
    blocks["help_time"] = figures.read_text(encoding="utf-8").strip()
    text = PAGE.read_text(encoding="utf-8")
    names = [found[2] for found in _BLOCK.finditer(text)]
    assert sorted(names) == sorted(blocks), f"blocks of the page {names}, recorded {list(blocks)}"
    return _BLOCK.sub(lambda found: found[1] + blocks[found[2]], text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
