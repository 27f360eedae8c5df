"""Every command and program of the README runs, in its order, in one place."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tabulate import tabulate

from lit_mtl.command_table import COMMANDS
from lit_mtl.commands.help import overview
from lit_mtl.data.downloads import CORPORA, prepare_corpora
from tests.conftest import EXAMPLE_FILES, ROOT, save_tiny_backbone
from tests.data.archive import small_corpora

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    """The lines of shell blocks that call this project, with continued lines joined."""
    joined = "\n".join(blocks("bash")).replace("\\\n", " ")
    return [line for line in joined.splitlines() if "python -m lit_mtl" in line]


def run(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell in which `python` is the one that runs the tests."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", line],
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def shortened(line: str, backbone: Path) -> str:
    """The same command, small: example sentences for the corpus, narrow layers for the hub's."""
    few = ""
    if "configs/quickstart.yaml" in line:
        few = f" --data.corpus=null --data.path={EXAMPLE_FILES}"
        few += "" if "lit_mtl plan" in line else " --trainer.max_epochs=1"
    elif "configs/rated_corpora.yaml" in line:
        few = " --trainer.max_epochs=1"
    elif "configs/bert_base.yaml" in line and "configs/debug.yaml" not in line:
        few = f" --model.backbone={backbone} --trainer.max_steps=1"
    if few:
        few += " --data.val_fraction=0.2 --data.test_fraction=0.2"
    command, *comment = re.split(r"\s+#\s", line)
    assert len(comment) <= 1
    return command.replace(" > ", f"{few} > ") if " > " in command else command + few


def test_every_command_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("configs", "examples"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    archive = small_corpora(tmp_path, monkeypatch)  # what would be fetched is there already
    prepare_corpora([(name, Path("data", name)) for name in CORPORA], archive=archive)
    backbone = save_tiny_backbone(tmp_path / "bert", num_hidden_layers=12)
    found = commands()
    assert len(found) >= 8
    for line in found:
        done = run(shortened(line, backbone))
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def test_every_program_of_the_readme_runs_after_its_commands(tmp_path: Path) -> None:
    for folder in ("configs", "examples"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    assert run("python -m lit_mtl fit --config configs/debug.yaml").returncode == 0
    programs = blocks("python")
    assert programs
    for program in programs:
        Path("program.py").write_text(program, encoding="utf-8")
        done = run("python program.py")
        assert done.returncode == 0, done.stderr


def test_the_report_shown_is_what_check_data_prints(tmp_path: Path) -> None:
    for folder in ("configs", "examples"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    done = run("python -m lit_mtl check-data --config configs/debug.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in README


def test_the_overview_shown_is_what_help_prints() -> None:
    assert overview() in README


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name: str) -> None:
    assert f"lit_mtl {name}" in README


def test_the_file_map_names_every_file() -> None:
    for path in (ROOT / "src" / "lit_mtl").rglob("*.py"):
        if path.name != "__init__.py":
            assert re.search(rf"\b{re.escape(path.name)}\b", README), path.name
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert path.name in README


def test_the_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)", "\n".join(blocks("bash"))))
    assert {"quickstart", "test"} <= named <= targets


def test_the_tables_are_those_of_the_reference_run() -> None:
    """Nothing in the README's result is typed by hand, and nothing is left to be filled in."""
    reference = ROOT / "lightning_logs" / "reference" / "quickstart"
    table = (reference / "console.txt").read_text(encoding="utf-8")
    result = table[table.index("\nsentiment ") :].strip("\n").split("\ntraining took")[0].strip()
    assert result in README
    minutes = json.loads((reference / "results.json").read_text())["training_seconds"] / 60
    assert f"{minutes:.1f} minutes" in README
    embedded = (reference / "embed.txt").read_text(encoding="utf-8").strip()
    assert embedded in README
    for recorded in (ROOT / "benchmarks" / "results").glob("*.txt"):
        assert recorded.read_text(encoding="utf-8").strip() in README, recorded.name
    assert not re.search(r"@[A-Z]+@", README)


def test_the_reference_run_is_good_enough() -> None:
    """The floor that the project set itself for its quickstart."""
    path = ROOT / "lightning_logs" / "reference" / "quickstart" / "results.json"
    test = json.loads(path.read_text())["results"]["test"]
    assert test["score"]["pearson"] >= 0.81
    assert test["sentiment"]["accuracy"] >= 0.85


def rated_table() -> str:
    """The recorded run of the four corpora: a row a corpus, of its test split."""
    path = ROOT / "lightning_logs" / "reference" / "rated_corpora" / "results.json"
    run = json.loads(path.read_text())
    metrics, intervals = run["results"]["test"], run["confidence_intervals"]["test"]
    rows = []
    for corpus in ("movies", "tweets", "amazon", "nyt"):
        score, label = f"{corpus}_score", f"{corpus}_sentiment"
        stated = run["calibration"]
        row: list[object] = [corpus, metrics[score]["n"]]
        for task, metric in ((score, "pearson"), (label, "accuracy")):
            low, high = intervals[task][metric]
            row.append(f"{metrics[task][metric]:.3f} ({low:.3f} to {high:.3f})")
        row += [f"{stated[label]['test'][when]['ece']:.3f}" for when in ("before", "after")]
        row.append(f"{stated[score]['test']['after']['observed']:.3f}")
        rows.append(row)
    headers = ["test", "n", "pearson r", "accuracy", "ece before", "after", "90 % intervals hold"]
    return tabulate(rows, headers, disable_numparse=True)


def test_the_four_corpora_are_those_of_the_recorded_run() -> None:
    """Also its settings, which are those of the config that stands beside them."""
    folder = ROOT / "lightning_logs" / "reference" / "rated_corpora"
    assert rated_table() in README
    recorded = yaml.safe_load((folder / "config.yaml").read_text())
    declared = yaml.safe_load((ROOT / "configs" / "rated_corpora.yaml").read_text())
    assert recorded["tasks"].keys() == declared["tasks"].keys()
    assert recorded["data"]["sources"].keys() == declared["data"]["sources"].keys()
    for part, key in (("data", "batch_size"), ("model", "lr"), ("trainer", "max_epochs")):
        assert recorded[part][key] == declared[part][key]
    console = (folder / "console.txt").read_text(encoding="utf-8")
    minutes = json.loads((folder / "results.json").read_text())["training_seconds"] / 60
    assert f"training took {minutes:.1f} minutes" in console
