"""The quickstart, killed at random and started again by the same command, beside an undisturbed run.

    python benchmarks/chaos.py [--kills 6] [--seed 0]

Signals come at random moments: SIGKILL and SIGTERM in turn. The run is then finished, and weights,
optimizer, counters and results are compared bit for bit with those of the undisturbed run, which is
trained first if it is not there yet (--undisturbed FOLDER takes one of the same threads).
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]


def fit(config: str, folder: Path, options: list[str]) -> list[str]:
    """The command of a run in a named folder."""
    command = [sys.executable, "-m", "lit_mtl", "fit", f"--config={config}", "--ckpt_path=auto"]
    command += [f"--trainer.logger.init_args.version={folder}"]
    return [*command, "--trainer.enable_progress_bar=false", *options]


def flat(value: Any, key: str = "") -> dict[str, Any]:
    """All entries of a checkpoint by path; without the duration, which no rerun shares."""
    if isinstance(value, dict):
        parts = [flat(part, f"{key}/{name}") for name, part in value.items()]
    elif isinstance(value, list | tuple):
        parts = [flat(part, f"{key}/{number}") for number, part in enumerate(value)]
    else:
        return {} if key.endswith("/seconds") else {key: value}
    return {name: entry for part in parts for name, entry in part.items()}


def differing(one: Path, other: Path) -> list[str]:
    """Entries of the last checkpoints of two runs that are not equal to the bit."""
    first, second = (
        flat(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True))
        for run in (one, other)
    )
    return [
        key
        for key in sorted({*first, *second})
        if key not in first or key not in second or not equal(first[key], second[key])
    ]


def equal(one: Any, other: Any) -> bool:
    """Whether two entries are the same, tensors to the bit."""
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


def disturb(command: list[str], folder: Path, *, kills: int, seed: int, within: float) -> None:
    """Run a command with signals at random moments until it ends by itself."""
    draw = random.Random(seed)
    done = 0
    while True:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        if done == kills:
            assert process.wait() == 0
            return
        wait = draw.uniform(0.1, 1) * within
        what = (signal.SIGKILL, signal.SIGTERM)[done % 2]
        begun = time.monotonic()
        while process.poll() is None and time.monotonic() - begun < wait:
            time.sleep(0.05)
        if process.poll() is not None:
            raise SystemExit(f"the run ended after {done} signals: choose a smaller --within")
        process.send_signal(what)
        code = process.wait()
        done += 1
        states = [int(path.stem[5:]) for path in (folder / "checkpoints").glob("step_*.json")]
        newest = max(states, default=0)
        print(f"{done}. {what.name} after {wait:.0f} s: exit {code}, newest state step {newest}")


def main() -> None:
    """Make both runs and compare them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default=str(ROOT / "configs" / "quickstart.yaml"))
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--within", type=float, default=120.0, help="seconds: a signal by then")
    parser.add_argument("--folder", type=Path, default=ROOT / "lightning_logs" / "chaos")
    parser.add_argument("--undisturbed", type=Path)
    arguments, options = parser.parse_known_args()
    undisturbed = arguments.undisturbed or arguments.folder / "undisturbed"
    if not (undisturbed / "results.json").is_file():
        subprocess.run(fit(arguments.config, undisturbed, options), check=True, cwd=ROOT)
    disturbed = arguments.folder / f"seed_{arguments.seed}"
    command = fit(arguments.config, disturbed, options)
    disturb(
        [*command, "--checkpoint.every_n_steps=25"],
        disturbed,
        kills=arguments.kills,
        seed=arguments.seed,
        within=arguments.within,
    )
    different = differing(disturbed, undisturbed)
    results = [
        json.loads((run / "results.json").read_text())["results"]
        for run in (disturbed, undisturbed)
    ]
    print(f"entries of the last checkpoint that differ: {different or 'none'}")
    print(f"results: {'equal' if results[0] == results[1] else 'DIFFERENT'}")
    for task, result in results[0]["test"].items():
        print(f"test {task}: {json.dumps({k: v for k, v in result.items() if k[0] != 'c'})}")
    sys.exit(bool(different) or results[0] != results[1])


if __name__ == "__main__":
    main()
