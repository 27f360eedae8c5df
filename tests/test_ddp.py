"""Two real processes over gloo, started by Trainer flags alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lit_mtl.data.splits import SPLITS, Split, Splitter, position_of, text_key
from tests.commands.test_train import scalars_of
from tests.conftest import ROOT
from tests.pages import free_port
from tests.processes import finished
from tests.runs import TRACE, trace_of

TWO = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu"]


def split_of(text: str) -> Split:
    """The split of a sentence with a fifth of them in each of val and test."""
    splitter = Splitter(val_fraction=0.2, test_fraction=0.2)
    return splitter.split(position_of(text_key(text).casefold()))


def run(folder: Path, *words: str | Path) -> str:
    """Run a command in a process of its own, which starts the other ranks, if there are any."""
    folder.mkdir()
    if not set(TWO) <= set(words):
        output = folder / "output.txt"
        code = finished(words, folder=folder, output=output)
        assert code == 0, output.read_text()
        return output.read_text()
    done = subprocess.run(
        [sys.executable, "-m", "lit_mtl", *map(str, words)],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
            ),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def fit(
    folder: Path, arguments: list[str], *words: str
) -> tuple[list[dict[str, torch.Tensor]], str]:
    """Train; return the weights of every rank and what was printed."""
    kept = ["--trainer.callbacks+=tests.rank_weights.RankWeights"]
    kept += [f"--trainer.callbacks.init_args.folder={folder / 'ranks'}"]
    printed = run(folder, "fit", *arguments, *kept, *words)
    files = sorted((folder / "ranks").iterdir())
    return [torch.load(file, weights_only=True) for file in files], printed


@pytest.fixture
def arguments(fit_arguments: list[str], steady_bert: Path) -> list[str]:
    """The run of the other tests in double precision, without dropout and without pictures.

    Pictures take longer than the steps; that the first process draws them is a test of their own.
    """
    steady = [f"--model.backbone={steady_bert}", "--model.head_dropout=0"]
    steady += ["--dashboards.enabled=false"]
    return [*fit_arguments, *steady, "--trainer.precision=64-true"]


@pytest.mark.slow
def test_two_processes_end_with_equal_weights_and_equal_one_process(
    arguments: list[str], tmp_path: Path
) -> None:
    two, printed = fit(tmp_path / "two", arguments, *TWO, "--data.batch_size=4")
    assert len(two) == 2
    assert all(torch.equal(value, two[1][name]) for name, value in two[0].items())
    one, _ = fit(tmp_path / "one", arguments, "--data.batch_size=8")
    for name, value in one[0].items():
        torch.testing.assert_close(two[0][name], value, atol=1e-12, rtol=0)
    assert printed.count("\nembeddings ") == 1, "only one process prints the tables"
    assert "DistributedSampler" not in printed

    results = [
        json.loads((tmp_path / name / "lightning_logs/runs/version_0/results.json").read_text())
        for name in ("one", "two")
    ]
    for split, tasks in results[0]["results"].items():
        for task, result in tasks.items():
            other = results[1]["results"][split][task]
            assert other.pop("confusion_matrix", None) == result.pop("confusion_matrix", None)
            assert other == pytest.approx(result, abs=1e-5)

    curves = [
        scalars_of(tmp_path / name / "lightning_logs/runs/version_0") for name in ("one", "two")
    ]
    for tag in ("train/loss", "train/sentiment/loss", "train/score/loss"):
        assert len(curves[0][tag]) == 10
        for (_, one_value), (_, two_value) in zip(*(found[tag] for found in curves), strict=True):
            assert two_value == pytest.approx(one_value, rel=1e-5, nan_ok=True), tag

    best = tmp_path / "two/lightning_logs/runs/version_0/checkpoints/best.ckpt"
    sentences = [f"sentence number {number} of them" for number in range(5)]
    (tmp_path / "new.txt").write_text("\n".join(sentences))
    output = tmp_path / "out.jsonl"
    words = ["--input", str(tmp_path / "new.txt"), "--output", str(output)]
    run(tmp_path / "predict", "predict", "--ckpt_path", best, *words, *TWO)
    rows = [json.loads(line)["text"] for line in output.read_text().splitlines()]
    assert rows == sentences


AT_EXIT = """
import atexit, os, pathlib, sys

def closed():
    from torch import distributed
    return not distributed.is_initialized()

@atexit.register
def tell():
    if "lightning" in sys.modules:
        folder = pathlib.Path(__file__).parent / "ends"
        (folder / os.environ.get("LOCAL_RANK", "0")).write_text(str(closed()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["fit", "predict"])
def test_every_process_has_left_the_group_when_python_ends(
    command: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread of gloo that still holds a tensor then aborts the process, once in a while."""
    words = [*arguments, *TWO]
    if command == "predict":
        run(tmp_path / "fit", "fit", *arguments)
        best = tmp_path / "fit/lightning_logs/runs/version_0/checkpoints/best.ckpt"
        (tmp_path / "new.txt").write_text("a sentence\nanother\n")
        words = ["--ckpt_path", str(best), "--input", str(tmp_path / "new.txt"), *TWO]
        words += ["--output", str(tmp_path / "out.jsonl")]
    (tmp_path / "ends").mkdir()
    (tmp_path / "sitecustomize.py").write_text(AT_EXIT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    run(tmp_path / "run", command, *words)
    ends = {path.name: path.read_text() for path in (tmp_path / "ends").iterdir()}
    assert ends == {"0": "True", "1": "True"}


@pytest.mark.slow
def test_two_hosts_of_one_process_equal_one_process(arguments: list[str], tmp_path: Path) -> None:
    """Two commands that find each other by the variables of Lightning's own environment."""
    kept = ["--trainer.callbacks+=tests.rank_weights.RankWeights"]
    kept += [f"--trainer.callbacks.init_args.folder={tmp_path / 'ranks'}"]
    hosts = ["--trainer.num_nodes=2", "--trainer.devices=1", "--trainer.strategy=ddp"]
    words = ["fit", *arguments, *kept, *hosts, "--data.batch_size=4"]
    shared = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "lit_mtl", *words],
            cwd=tmp_path,
            env={**shared, "NODE_RANK": str(rank)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for rank in (0, 1)
    ]
    for process in started:
        _, errors = process.communicate(timeout=900)
        assert process.returncode == 0, errors
    two = [torch.load(tmp_path / "ranks" / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    one, _ = fit(tmp_path / "one", arguments, "--data.batch_size=8")
    for name, value in one[0].items():
        assert torch.equal(two[0][name], two[1][name]), name
        torch.testing.assert_close(two[0][name], value, atol=1e-12, rtol=0)


@pytest.mark.slow
def test_two_processes_share_batches_with_a_budget_of_tokens(
    arguments: list[str], tmp_path: Path
) -> None:
    budget = ["--data.batch_tokens=128", "--data.batch_size=null", TRACE]
    two, printed = fit(tmp_path / "two", arguments, *TWO, *budget)
    assert all(torch.equal(value, two[1][name]) for name, value in two[0].items())
    assert "DistributedSampler" not in printed
    traces = [trace_of(tmp_path / "two", rank) for rank in (0, 1)]
    assert len(traces[0]) == len(traces[1])
    for epoch in (0, 1):
        rows = [
            row
            for trace in traces
            for line in trace
            if line["position"][0] == epoch
            for row in line["rows"]
        ]
        assert sorted(rows) == list(range(len(rows)))


PLAN = """
freezing:
  stages:
    - {name: probe, freeze: [backbone], until_epoch: 1}
    - {name: all, until_epoch: 2, warmup_steps: 2}
    - {name: again, freeze: [backbone.embeddings, heads.sentiment]}
"""


def test_staged_freezing_keeps_ranks_equal_and_equal_to_one_process(
    arguments: list[str], tmp_path: Path
) -> None:
    """Law 8: what is thawed later is reduced over the ranks as well, and may be frozen again."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    staged = [*arguments, f"--config={plan}", "--trainer.max_epochs=3"]
    two, _ = fit(tmp_path / "two", staged, *TWO, "--data.batch_size=4")
    one, _ = fit(tmp_path / "one", staged, "--data.batch_size=8")
    for name, value in one[0].items():
        assert torch.equal(two[0][name], two[1][name]), name
        torch.testing.assert_close(two[0][name], value, atol=1e-12, rtol=0)


CACHED = """
freezing:
  stages:
    - {name: probe, freeze: [backbone], until_epoch: 2}
    - {name: top, freeze: [backbone.embeddings, 'backbone.layers[0]']}
"""


@pytest.mark.slow
def test_two_processes_share_the_work_of_a_cache_and_equal_one_without(
    arguments: list[str], tmp_path: Path
) -> None:
    """Pooled vectors first, then hidden states, with validation; nothing is left of them."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(CACHED)
    staged = [*arguments, f"--config={plan}", "--trainer.max_epochs=4"]
    own = f"--data.cache_dir={tmp_path / 'cache'}"
    two, printed = fit(tmp_path / "two", [*staged, own], *TWO, "--data.batch_size=4")
    assert printed.count("are cached") == 2
    assert len(list((tmp_path / "cache").iterdir())) == 1, "the prepared data"
    one, printed = fit(tmp_path / "one", [*staged, "--prefix_cache.mode=off"])
    assert "are cached" not in printed
    for name, value in one[0].items():
        assert torch.equal(two[0][name], two[1][name]), name
        torch.testing.assert_close(two[0][name], value, atol=1e-12, rtol=0)


@pytest.mark.slow
def test_two_processes_protect_the_embedding_as_one(arguments: list[str], tmp_path: Path) -> None:
    """Each computes a share of the base's vectors and reads all of them."""
    protected = [*arguments, "--protection.weight=1"]
    two, _ = fit(tmp_path / "two", protected, *TWO, "--data.batch_size=4")
    one, _ = fit(tmp_path / "one", protected, "--data.batch_size=8")
    plain, _ = fit(tmp_path / "plain", arguments, "--data.batch_size=8")
    for name, value in one[0].items():
        assert torch.equal(two[0][name], two[1][name]), name
        torch.testing.assert_close(two[0][name], value, atol=1e-12, rtol=0)
    assert any(not torch.equal(value, plain[0][name]) for name, value in one[0].items())


@pytest.mark.slow
def test_two_processes_learn_loss_weights_as_one(arguments: list[str], tmp_path: Path) -> None:
    """Also while the model is wrapped anew, with stages in which the network rests as a whole."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(RESTING)
    learned = [*arguments, f"--config={plan}", "--model.loss_balancing=uncertainty"]
    learned += ["--trainer.max_epochs=3"]
    two, _ = fit(tmp_path / "two", learned, *TWO, "--data.batch_size=4")
    one, _ = fit(tmp_path / "one", learned, "--data.batch_size=8")
    for name, value in one[0].items():
        assert torch.equal(two[0][name], two[1][name]), name
        torch.testing.assert_close(two[0][name], value, atol=1e-12, rtol=0)
    ends = [
        torch.load(
            tmp_path / name / "lightning_logs/runs/version_0/checkpoints/last.ckpt",
            weights_only=True,
        )["loss_log_variances"]
        for name in ("two", "one")
    ]
    torch.testing.assert_close(ends[0], ends[1], atol=1e-12, rtol=0)
    assert all(value.abs() > 1e-3 for value in ends[0].values())


@pytest.mark.slow
def test_two_processes_turn_gradients_as_one(arguments: list[str], tmp_path: Path) -> None:
    """Also where the projection is frozen and the top layer is what the tasks share."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(BELOW)
    turned = [*arguments, f"--config={plan}", "--model.loss_balancing=upgrad"]
    two, _ = fit(tmp_path / "two", turned, *TWO, "--data.batch_size=4")
    one, _ = fit(tmp_path / "one", turned, "--data.batch_size=8")
    plain, _ = fit(tmp_path / "plain", [*arguments, f"--config={plan}"], "--data.batch_size=8")
    for name, value in one[0].items():
        assert torch.equal(two[0][name], two[1][name]), name
        # gradients are compared in single precision
        torch.testing.assert_close(two[0][name], value, atol=1e-6, rtol=0)
    assert any((value - plain[0][name]).abs().max() > 1e-5 for name, value in one[0].items())


BELOW = """
freezing:
  stages:
    - {name: all, until_epoch: 1}
    - {name: below, freeze: [projection]}
"""

RESTING = """
freezing:
  stages:
    - {name: heads, freeze: [backbone, projection], until_epoch: 1}
    - {name: nothing, freeze: [all], until_epoch: 2}
    - {name: all}
"""


@pytest.mark.slow
def test_two_processes_begin_and_end_with_fitted_layers_as_one(
    arguments: list[str], tmp_path: Path
) -> None:
    begun = [*arguments, "--head_init.method=fitted", "--projection_init.method=pca"]
    begun += ["--model.embedding_dim=16"]
    two, _ = fit(tmp_path / "two", begun, *TWO, "--data.batch_size=4")
    one, _ = fit(tmp_path / "one", begun, "--data.batch_size=8")
    for name, value in one[0].items():
        assert torch.equal(two[0][name], two[1][name]), name
        # Adam scales up the rounding of the gradients that are zero, those of the keys' biases
        torch.testing.assert_close(two[0][name], value, atol=1e-11, rtol=0)


THREE_STAGES = """
freezing:
  stages:
    - {name: heads, freeze: [backbone], until_epoch: 1}
    - {name: top, freeze: [backbone.embeddings, 'backbone.layers[0]'], until_epoch: 2}
    - {name: all}
"""


def spread(ranks: list[dict[str, torch.Tensor]]) -> float:
    """Largest difference between two ranks in any weight."""
    return max(float((value - ranks[1][name]).abs().max()) for name, value in ranks[0].items())


@pytest.mark.slow
def test_the_same_thaw_drifts_with_lightnings_callback_and_not_with_ours(
    arguments: list[str], tmp_path: Path
) -> None:
    """Lightning #20340: what is frozen when DDP wraps the model is never reduced over the ranks."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(THREE_STAGES)
    arguments = [*arguments, "--trainer.max_epochs=3"]
    ours, _ = fit(tmp_path / "ours", [*arguments, f"--config={plan}"], *TWO)
    assert spread(ours) == 0.0
    upstream = "--trainer.callbacks+=tests.upstream_finetuning.UpstreamFinetuning"
    theirs, _ = fit(tmp_path / "theirs", [*arguments, upstream], *TWO)
    if spread(theirs) == 0.0:
        pytest.skip("this Lightning reduces what was thawed after the wrapping")
    assert spread(theirs) > 1e-6


@pytest.mark.slow
def test_two_processes_average_as_one_while_stages_wrap_the_model_anew(
    arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "plan.yaml").write_text(THREE_STAGES)
    words = [*arguments, f"--config={tmp_path / 'plan.yaml'}", "--trainer.max_epochs=3"]
    words.append("--averaging.decay=0.7")
    ends = []
    for name, options in (("two", [*TWO, "--data.batch_size=4"]), ("one", ["--data.batch_size=8"])):
        ranks, _ = fit(tmp_path / name, words, *options)
        last = tmp_path / name / "lightning_logs/runs/version_0/checkpoints/last.ckpt"
        ends.append((ranks[0], torch.load(last, weights_only=True)["state_dict"]))
        assert len(ranks) == 1 or spread(ranks) == 0.0
    assert any(not torch.equal(value, ends[0][1][key]) for key, value in ends[0][0].items())
    for two, one in zip(*ends, strict=True):
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, atol=1e-11, rtol=0)


@pytest.mark.slow
def test_a_wholly_frozen_stage_runs_on_two_processes(arguments: list[str], tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "freezing: {stages: [{name: rest, freeze: [all], until_epoch: 1}, {name: all}]}"
    )
    two, _ = fit(tmp_path / "two", [*arguments, f"--config={plan}"], *TWO)
    assert all(torch.equal(value, two[1][name]) for name, value in two[0].items())


@pytest.mark.slow
def test_ranks_with_different_numbers_of_batches_measure_the_same(
    arguments: list[str], tmp_path: Path
) -> None:
    words = [*arguments, "--data.val_fraction=0.35", "--data.eval_batch_size=1"]
    run(tmp_path / "two", "fit", *words, *TWO, "--data.batch_size=4")
    run(tmp_path / "one", "fit", *words)
    found = [
        json.loads((tmp_path / name / "lightning_logs/runs/version_0/results.json").read_text())
        for name in ("one", "two")
    ]
    counts = {task["n"] for task in found[0]["results"]["val"].values()}
    assert any(count % 2 for count in counts), "the ranks have equally many rows"
    for name, result in found[0]["results"]["val"].items():
        assert found[1]["results"]["val"][name]["n"] == result["n"]


@pytest.mark.slow
def test_more_processes_than_rows_do_not_hang_in_evaluation(
    arguments: list[str], tmp_path: Path
) -> None:
    """With three training rows and one each to validate and test, one rank has no row of its own."""
    rows: dict[str, list[str]] = {split: [] for split in SPLITS}
    for number in range(200):
        text = f"film {number}"
        rows[split_of(text)].append(text)
    chosen = [*rows["train"][:3], rows["val"][0], rows["test"][0]]
    table = tmp_path / "few.tsv"
    table.write_text(
        "text\tscore\n" + "".join(f"{text}\t{n % 3}\n" for n, text in enumerate(chosen))
    )
    run(tmp_path / "few", "fit", *arguments, f"--data.path={table}", *TWO)
    path = tmp_path / "few/lightning_logs/runs/version_0/results.json"
    results = json.loads(path.read_text())["results"]
    assert [results[split]["score"]["n"] for split in ("val", "test")] == [1, 1]
