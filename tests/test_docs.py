"""The pages in docs/ work as written: commands, then programs, in one place."""

import re
import runpy
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_readme import run

PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_works_as_written(page: Path, tmp_path: Path) -> None:
    for folder in ("configs", "examples"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    printed = []
    for language, block in re.findall(r"```(bash|python)\n(.*?)```", page.read_text(), re.DOTALL):
        if language == "python":
            Path("program.py").write_text(block, encoding="utf-8")
        for line in ["python program.py"] if language == "python" else block.splitlines():
            done = run(line)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            printed.append(done.stdout)
    if page.stem == "artifact":
        sentences = (ROOT / "examples/own_files/positive.txt").read_text().splitlines()
        hits = [line.split("  ", 1) for line in printed[2].splitlines()]
        assert len(hits) == 3
        assert all(text in sentences for _, text in hits)
        assert sorted((float(score) for score, _ in hits), reverse=True) == [
            float(score) for score, _ in hits
        ]
        assert "torch.Size([1, 256])" in printed[3]
        assert "'sentiment'" in printed[3]


def test_the_console_page_shows_what_the_commands_print() -> None:
    """But for the last digits of metrics, which differ between processors."""
    script = runpy.run_path(str(ROOT / "docs" / "record_console.py"))
    fresh, shown = script["page"](), (ROOT / "docs" / "console.md").read_text(encoding="utf-8")
    assert re.sub(r"\d\.\d{4}", "0.0000", fresh) == re.sub(r"\d\.\d{4}", "0.0000", shown)
    for command in ("interrupted", "continued"):
        assert f"<!-- record {command} -->" in shown
    assert "(exit code 130)" in shown
    assert "continued from step 8" in shown
    assert "bad/scores.tsv:3: " in shown
    assert "perhaps --model.lr was meant" in shown
