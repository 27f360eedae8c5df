"""The README and the pages of docs/, and how what stands in them is run."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from tests.conftest import EXAMPLE_FILES, ROOT

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
EVERYTHING = "\n".join(TEXTS.values())

NOT_RUN = {
    r"make ": "installs, or takes hours; that the target exists is tested",
    r"source ": "the tests' own environment is active",
    r"python -m lit_mtl compare --config configs/human_ratings": "hours; another `compare` is run",
    r"python benchmarks/": "minutes to hours; test_benchmarks.py runs each of them in small",
    r"tensorboard ": "serves until it is stopped; `make test-browser` looks at it",
}
"""Commands that are not run as they stand, by how they begin, and why."""


def blocks(language: str, text: str = EVERYTHING) -> list[str]:
    """The code blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def config_block(name: str) -> str:
    """The config that begins with a comment that names it."""
    (block,) = [block for block in blocks("yaml") if block.startswith(f"# {name}")]
    return block


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a shell in which `python` is the one that runs the tests."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-ec", script],
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def shortened(line: str, backbone: Path) -> str:
    """The same command, small: example sentences for the corpus, narrow layers for the hub's."""
    if any(re.match(start, line) for start in NOT_RUN):
        return ""
    line = re.sub(r"(MASTER_PORT)=\d+", rf"\1={free_port()}", line)
    few = ""
    if "configs/quickstart.yaml" in line:
        few = f" --data.corpus=null --data.path={EXAMPLE_FILES}"
        few += "" if "lit_mtl plan" in line else " --trainer.max_epochs=1"
    elif "configs/human_ratings.yaml" in line:
        few = " --trainer.max_epochs=1"
    elif "configs/bert_base.yaml" in line and "configs/debug.yaml" not in line:
        few = f" --model.backbone={backbone} --trainer.max_steps=1"
    if few:
        few += " --data.val_fraction=0.2 --data.test_fraction=0.2"
    command, *comment = re.split(r"\s+#\s", line)
    assert len(comment) <= 1
    return command.replace(" > ", f"{few} > ") if " > " in command else command + few


def scripts(text: str, backbone: Path) -> list[str]:
    """What a page runs: its shell blocks, and its programs, in their order."""
    found = []
    for language, block in re.findall(
        r"^```(bash|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    ):
        if language == "python":
            found.append(f"python - <<'END'\n{block}END")
        else:
            lines = block.replace("\\\n", " ").splitlines()
            found.append("\n".join(shortened(line, backbone) for line in lines).strip())
    return [script for script in found if script]
