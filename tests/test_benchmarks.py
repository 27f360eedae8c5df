"""The benchmarks run; their figures are nobody's test."""

import json
import re
import runpy
import statistics
from collections import Counter
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops

from lit_mtl import load
from lit_mtl.commands.compare_report import table
from lit_mtl.data.downloads import CORPORA, prepare_corpora
from lit_mtl.paired import Comparison, Estimate
from lit_mtl.reliability import expected_calibration_error
from tests import processes
from tests.conftest import EXAMPLE_FILES, ROOT, many_sentences, save_tiny_backbone
from tests.data.archive import small_corpora
from tests.pages import EVERYTHING


def run(script: str, *options: str) -> str:
    return processes.printed(ROOT / "benchmarks" / script, *options)


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


def test_logging_cost_prints_the_ratio_and_where_the_time_goes(tiny_bert: Path) -> None:
    options = ["--rounds=1", "--steps=2", f"--backbone={tiny_bert}", f"--data={EXAMPLE_FILES}"]
    lines = run("logging_cost.py", *options, "--log_every_n_steps=1").splitlines()
    assert lines[0].startswith("run with over without: median ")
    assert [line.split(":")[0] for line in lines[2:]] == [
        "hooks of step",
        "hooks of validation",
        "hooks of begin and end",
    ]
    assert all(float(line.split(": ")[1].split(" s a run")[0]) > 0 for line in lines[2:])


@pytest.mark.slow
def test_rows_of_many_sentences_are_theirs_and_what_is_recorded_is_not_repeated(
    tmp_path: Path,
) -> None:
    record = tmp_path / "record.jsonl"
    options = ["--sentences=300", f"--record={record}", f"--scratch={tmp_path}"]
    printed = run("million_sentences.py", *options)
    rows = [line.split()[:4] for line in printed.splitlines()[2:]]
    expected = [["embed", "to", ".npy"], ["predict", "to", ".jsonl"]]
    assert rows == [[*command, number] for command in expected for number in ("30", "300")]
    content = record.read_text()
    runs = [json.loads(line) for line in content.splitlines()]
    assert [each["checked"] for each in runs] == [30, 200, 30, 200]
    assert all(0 <= each["difference"] <= 1e-5 for each in runs)
    assert all(each["peak"] > 50e6 for each in runs)
    assert run("million_sentences.py", *options, "--table") == printed
    assert run("million_sentences.py", *options) == printed
    assert record.read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == ["record.jsonl"]


@pytest.mark.parametrize("damage", ["none", "order", "length", "partial"])
def test_an_output_that_is_not_right_is_no_result(
    damage: str, tmp_path: Path, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "million_sentences.py"))
    vectors = load(exported).embed(list(benchmark["sentences"](40))).numpy()
    order = [1, 0, *range(2, 40)] if damage == "order" else range(40)
    np.save(tmp_path / "out.npy", vectors[order][: 39 if damage == "length" else 40])
    if damage == "partial":
        (tmp_path / ".partial-out.npy-x").touch()
    expected = nullcontext() if damage == "none" else pytest.raises(AssertionError)
    with expected:
        benchmark["check"](str(exported), str(tmp_path / "out.npy"), "40")
        assert json.loads(capsys.readouterr().out)["checked"] == 40


def test_both_ways_to_embed_agree_and_rounds_on_record_are_not_repeated(
    tmp_path: Path, tiny_bert: Path
) -> None:
    record = tmp_path / "record.jsonl"
    options = ["--sentences=40", f"--backbone={tiny_bert}", f"--record={record}"]
    options += [f"--tables={EXAMPLE_FILES / 'scores.tsv'}"]
    first = run("embedding_speed.py", *options, "--rounds=1")
    assert first.startswith("40 sentences, ")
    names = [line.split("  ")[0].split(" (")[0] for line in first.splitlines()[4:9]]
    assert names == ["lit_mtl embed", *(f"encode, batches of {n}" for n in (16, 32, 64, 128))]
    assert first.count("default") == first.count("best") == 1
    content = record.read_text()
    assert run("embedding_speed.py", *options, "--rounds=2").startswith("40 sentences, ")
    lines = record.read_text().splitlines()
    assert lines[0] == content.strip()
    assert len(lines) == 2
    assert all(0 < json.loads(line)["difference"] < 1e-5 for line in lines)


@pytest.mark.parametrize(
    "record", sorted((ROOT / "benchmarks" / "results").glob("*.jsonl")), ids=lambda path: path.stem
)
def test_a_table_of_recorded_runs_is_shown(record: Path) -> None:
    printed = run(f"{record.stem}.py", "--table").strip()
    assert printed
    assert printed in EVERYTHING


def test_the_table_of_plans_has_a_row_a_plan() -> None:
    printed = run("compare_plans.py", "--table").strip()
    lines = (ROOT / "benchmarks" / "results" / "compare_plans.jsonl").read_text().splitlines()
    assert len(printed.splitlines()) == 2 + len({json.loads(line)["plan"] for line in lines})


@pytest.mark.faults
def test_chaos_on_a_small_run_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    config = str(ROOT / "configs" / "debug.yaml")
    options = ["--kills=2", "--within=12", f"--folder={tmp_path}", "--trainer.max_epochs=300"]
    printed = run("chaos.py", f"--config={config}", *options)
    assert "entries of the last checkpoint that differ: none\nresults: equal" in printed


@pytest.mark.slow
def test_training_speed_has_a_row_a_side_and_equal_work(tmp_path: Path, tiny_bert: Path) -> None:
    record = tmp_path / "record.jsonl"
    options = [f"--record={record}", f"--backbone={tiny_bert}", "--schemes", "top third"]
    options += [f"--data={many_sentences(tmp_path / 'data')}", "--rows=70", "--epochs=2"]
    printed = run("training_speed.py", *options, "--rounds=1")
    rows = [line for line in printed.splitlines() if line.startswith("top third")]
    runs = [json.loads(line) for line in record.read_text().splitlines()]
    assert len(rows) == len(runs) == 5
    sides = [each["side"] for each in runs]
    assert [row.split("  ")[1].strip() for row in rows] == sides
    for field in ("sentences", "tokens", "operations"):
        assert len({each[field] for each in runs}) == 1
    assert runs[0]["sentences"] == 140
    assert all(abs(each["pearson"]) <= 1 and 0 <= each["accuracy"] <= 1 for each in runs)
    assert run("training_speed.py", *options, "--rounds=1") == printed
    assert len(record.read_text().splitlines()) == 5


@pytest.mark.slow
def test_prefix_cache_compares_within_a_round_and_repeats_nothing(
    tmp_path: Path, tiny_bert: Path
) -> None:
    record = tmp_path / "record.jsonl"
    options = [f"--record={record}", f"--backbone={tiny_bert}", "--rows=70", "--rounds=1"]
    options += [f"--data={many_sentences(tmp_path / 'data')}"]
    printed = run("prefix_cache.py", *options)
    runs = [json.loads(line) for line in record.read_text().splitlines()]
    assert [len(each["epochs"]) for each in runs] == [3, 3, 2, 20, 2, 20]
    ratio = runs[0]["seconds"] / runs[1]["seconds"]
    assert f"its cache filled: {ratio:.2f} ({ratio:.2f} to {ratio:.2f})" in printed
    probes = printed.splitlines()[-2:]
    for row, (plain, cached) in zip(probes, ((runs[2], runs[3]), (runs[4], runs[5])), strict=True):
        ratio = plain["epochs"][-1] / statistics.median(cached["epochs"][1:])
        assert f" {ratio:.2f} (" in row
    assert [row.split()[0] for row in probes] == ["32", "128"]
    assert run("prefix_cache.py", *options) == printed
    assert len(record.read_text().splitlines()) == 6


@pytest.mark.slow
def test_help_time_has_a_row_a_command_and_help_imports_nothing(tiny_bert: Path) -> None:
    printed = run("help_time.py", "--rounds=1", f"--backbone={tiny_bert}")
    times = {}
    for line in printed.splitlines()[3:]:
        name, *seconds = re.split(r" {2,}", line)
        times[name] = [float(each) for each in seconds]
    assert len(times) == 5
    overview, fit_help, imports, _, first_step = times.values()
    assert max(overview[1], fit_help[1]) < imports[1] / 4 < first_step[1]


def test_step_parts_has_a_row_a_variant_and_shares_of_a_whole(
    tmp_path: Path, tiny_bert: Path
) -> None:
    options = [f"--backbone={tiny_bert}", "--rows=70", "--rounds=1"]
    printed = run("step_parts.py", *options, f"--data={many_sentences(tmp_path / 'data')}")
    title, variants, shares = printed.strip().split("\n\n")
    assert title.endswith("pairs of steps: 3")
    ratios = [re.split(r" {2,}", line) for line in variants.splitlines()[2:]]
    assert len(ratios) == 3
    assert all(float(ratio) > 0 for _, ratio, _ in ratios)
    percents = [int(line.split()[-1].rstrip("%")) for line in shares.splitlines()[2:]]
    assert 95 <= sum(percents) <= 105
    assert all(0 <= percent < 100 for percent in percents)


def test_initial_layers_measures_both_projections_and_each_penalty(
    tmp_path: Path, tiny_bert: Path
) -> None:
    options = [f"--backbone={tiny_bert}", "--rows", "30"]
    printed = run("initial_layers.py", *options, f"--data={many_sentences(tmp_path / 'data')}")
    projections, heads = printed.strip().split("\n\n")
    orthogonal, pca = (line.split() for line in projections.splitlines()[2:])
    assert (orthogonal[0], pca[0]) == ("orthogonal", "pca")
    assert [line.split()[:2] for line in heads.splitlines()[2:]] == [
        [rows, l2] for rows in ("30", "all") for l2 in ("0.01", "0.3", "1")
    ]
    # the head of all rows with the default penalty is the first table's
    assert orthogonal[3:] == heads.splitlines()[-2].split()[2:]


@pytest.mark.slow
def test_human_ratings_measures_all_sides_on_the_same_test_sentences(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    archive = small_corpora(tmp_path, monkeypatch)
    prepare_corpora([(name, Path("data", name)) for name in CORPORA], archive=archive)
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("sentence1\tsentence2\tscore\na\tb\t0\na\tc\t1\nb\tc\t0.5\n")
    fit = [f"--model.backbone={tiny_bert}", "--trainer.max_epochs=1", "--trainer.accelerator=cpu"]
    fit += ["--data.test_fraction=0.35", "--data.val_fraction=0.15", "--trainer.precision=32-true"]
    sides = ["together", "together + rating distributions", "Trainer, each alone", "frozen, linear"]
    record = tmp_path / "record.jsonl"
    options = [
        "--sides",
        *sides,
        "--seeds",
        "0",
        f"--record={record}",
        f"--runs={tmp_path / 'runs'}",
    ]
    options += [f"--pairs={pairs}", *fit]
    printed = run("human_ratings.py", *options)
    runs = [json.loads(line) for line in record.read_text().splitlines()]
    assert [each["side"] for each in runs[::4]] == ["people", *sides]
    for corpus in CORPORA:
        own = [each for each in runs if each["corpus"] == corpus]
        for key in ("scores", "positive"):
            assert len({len(each[key]) for each in own}) == 1
        assert all(set(each["positive"]) <= {0, 1} for each in own)
        assert len({str(each["scores"]) for each in own}) == 5
    for key in ("pairs", "pairs aligned"):
        assert -1 <= runs[4][key] <= 1
    assert set(runs[4]["calibration"]) == {"sentiment", "score"}
    for true, said in zip(runs[:4], runs[4:8], strict=True):
        right = torch.tensor(true["positive"]) == torch.tensor(said["positive"])
        for when, stated in said["stated"].items():
            report = said["calibration"]["sentiment"][when]
            if report is not None:
                error = expected_calibration_error(torch.tensor(stated), right)
                assert error == pytest.approx(report["ece"], abs=1e-3)
    table = run("human_ratings.py", *options)
    assert printed.endswith(table)
    assert [line.split("  ")[0] for line in table.splitlines()[2:6]] == sides
    assert len(record.read_text().splitlines()) == len(runs)

    options[options.index("--seeds") - len(sides) : options.index("--seeds")] = ["frozen, linear"]
    printed = run("human_ratings.py", "--folds", "2", *options)
    assert printed.startswith("cpu, the config's own split:\n")
    assert "\ncpu, 2 folds:\n" in printed
    folds = [json.loads(line) for line in record.read_text().splitlines()[len(runs) :]]
    assert [(each["fold"], each["side"]) for each in folds[::4]] == [
        (fold, side) for fold in (0, 1) for side in ("people", "frozen, linear")
    ]
    for corpus in CORPORA:
        sizes = [len(each["scores"]) for each in folds if each["corpus"] == corpus]
        assert sizes[0] == sizes[1]
        assert sizes[0] + sizes[2] == len(
            Path("data", corpus, "scores.tsv").read_text().splitlines()[1:]
        )


@pytest.mark.slow
def test_warm_start_gives_its_three_sides_the_same_sentences(
    tmp_path: Path, tiny_bert: Path
) -> None:
    record = tmp_path / "record.jsonl"
    many_sentences(tmp_path / "other")
    options = [f"--record={record}", f"--runs={tmp_path / 'runs'}", f"--data={tmp_path}"]
    options += [f"--backbone={tiny_bert}", "--first=other", "--sources=other", "--seeds=0"]
    options += ["--rows=60", "--held_out", "40", "100", "--trainer.accelerator=cpu"]
    options += ["--trainer.max_epochs=1"]
    printed = run("warm_start.py", *options, "--trainer.precision=32-true")
    sides = ["pre-trained encoder", "trained backbone", "warm start"]
    assert [re.split(r" {2,}", line)[:4] for line in printed.splitlines()[2:]] == [
        ["other", "60", side, "1"] for side in sides
    ]
    runs = [json.loads(line) for line in record.read_text().splitlines()]
    assert all(abs(each["pearson"]) <= 1 and 0 <= each["accuracy"] <= 1 for each in runs)
    cells = [
        line.split("\t") for line in (tmp_path / "runs" / "other_60_0.tsv").read_text().splitlines()
    ]
    assert Counter(row[3] for row in cells[1:]) == {"test": 100, "val": 40, "train": 60}
    assert len({row[0] for row in cells}) == 201
    assert run("warm_start.py", *options) == printed
    assert len(record.read_text().splitlines()) == 3


def test_the_drawn_trade_off_is_that_of_the_record(tmp_path: Path) -> None:
    run("human_ratings.py", "--table", f"--plot={tmp_path / 'drawn.png'}")
    kept = ROOT / "docs" / "images" / "human_ratings_pairs.png"
    drawn, shown = (Image.open(path).convert("L") for path in (tmp_path / "drawn.png", kept))
    assert drawn.size == shown.size
    assert ImageChops.difference(drawn, shown).getbbox() is None


def test_the_verdicts_on_sharing_are_those_of_the_record() -> None:
    record = json.loads((ROOT / "benchmarks/results/compare_human_ratings.json").read_text())

    def estimates(found: dict[str, Any]) -> dict[str, Estimate]:
        names = [field.name for field in fields(Estimate)]
        return {key: Estimate(**{n: each[n] for n in names}) for key, each in found.items()}

    found = {
        task: Comparison(
            metric=each["metric"],
            variants=estimates(each["variants"]),
            differences=estimates(each["differences"]),
        )
        for task, each in record["tasks"].items()
    }
    assert len(found) == 8
    assert record["seeds"] == [0, 1, 2]
    assert table(found) in (ROOT / "docs" / "human_ratings.md").read_text()
