"""The ready freezing plans beside plain fine-tuning: quality and time on the quickstart, over seeds.

    python benchmarks/compare_plans.py [--seeds 0 1 2] [--threads 1]   # hours; resumable
    python benchmarks/compare_plans.py --table                         # of what is recorded so far

Each run is a `fit` in a process of its own, with the rates of the quickstart untouched; a line a run
is kept in benchmarks/results/compare_plans.jsonl, and a recorded run is not repeated. Time is what
the processor spent on the run, which other load on the machine hardly changes. `gradual` is the
plan that `plan --generate gradual` writes for the backbone at hand.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "compare_plans.jsonl"

PLANS = (
    "full",
    "top_layers",
    "backbone_frozen",
    "probe_then_finetune",
    "head_frozen",
    "joint_then_each",
    "all_frozen",
    "gradual",
)
"""`full` is the base config without a plan."""


def cpu_seconds() -> float:
    """Processor time of all ended children of this process."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_plan(plan: str, *, seed: int, base: Sequence[str], threads: int) -> dict[str, Any]:
    """Train with one plan and seed; the metrics of the test split and what it cost."""
    command = [sys.executable, "-m", "lit_mtl"]
    folder = ROOT / "lightning_logs" / "compare_plans" / plan / f"seed_{seed}"
    options = [f"--seed_everything={seed}", f"--trainer.logger.init_args.version={folder}"]
    options += ["--trainer.enable_progress_bar=false", "--trainer.precision=bf16-mixed"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    added = [] if plan == "full" else [f"--config={ROOT / 'configs' / 'freezing' / f'{plan}.yaml'}"]
    if plan == "gradual":
        # a thaw an epoch, and one epoch more with all of it; the plan names its epochs itself
        written = subprocess.run(
            [*command, "plan", "--generate", "gradual", *base, "--trainer.max_epochs=7"],
            check=True,
            cwd=ROOT,
            capture_output=True,
            text=True,
        ).stdout
        own = folder.parent / "plan.yaml"
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(written[written.index("freezing:") :])
        added = [f"--config={own}"]
    before = cpu_seconds()
    subprocess.run(
        [*command, "fit", *base, *added, *options], check=True, cwd=ROOT, env=environment
    )
    spent = cpu_seconds() - before
    test = json.loads((folder / "results.json").read_text())["results"]["test"]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.strip()
    return {
        "plan": plan,
        "seed": seed,
        "commit": commit,
        "threads": threads,
        "cpu_seconds": round(spent, 1),
        "pearson": test["score"]["pearson"],
        "accuracy": test["sentiment"]["accuracy"],
    }


def table(runs: Iterable[dict[str, Any]]) -> str:
    """A row a plan: mean and range over the seeds, and processor time over full fine-tuning's."""
    by_plan: dict[str, list[dict[str, Any]]] = {}
    full: dict[int, float] = {}
    for run in runs:
        by_plan.setdefault(run["plan"], []).append(run)
        if run["plan"] == "full":
            full[run["seed"]] = run["cpu_seconds"]
    rows = []
    for plan in PLANS:
        if not (own := by_plan.get(plan)):
            continue
        ratios = [run["cpu_seconds"] / full[run["seed"]] for run in own if run["seed"] in full]
        rows.append(
            [
                plan,
                len(own),
                _spread([run["pearson"] for run in own]),
                _spread([run["accuracy"] for run in own]),
                statistics.median(run["cpu_seconds"] for run in own) / 60,
                statistics.median(ratios) if ratios else None,
            ]
        )
    headers = ["plan", "seeds", "test pearson r", "test accuracy", "CPU minutes", "over full"]
    return tabulate(rows, headers, floatfmt=("", "", "", "", ".1f", ".2f"))


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{statistics.mean(known):.4f} ({min(known):.4f} to {max(known):.4f})"


def recorded() -> list[dict[str, Any]]:
    """The runs on record."""
    if not RESULTS.is_file():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def main() -> None:
    """Run what is not on record yet, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--plans", nargs="+", default=PLANS, choices=PLANS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--config", default=str(ROOT / "configs" / "quickstart.yaml"))
    parser.add_argument("--table", action="store_true", help="only show what is on record")
    arguments = parser.parse_args()
    for seed in [] if arguments.table else arguments.seeds:
        for plan in arguments.plans:
            if any((run["plan"], run["seed"]) == (plan, seed) for run in recorded()):
                continue
            base = [f"--config={arguments.config}"]
            run = run_plan(plan, seed=seed, base=base, threads=arguments.threads)
            with RESULTS.open("a") as file:
                file.write(json.dumps(run) + "\n")
            print(json.dumps(run), flush=True)
    print(table(recorded()))


if __name__ == "__main__":
    main()
