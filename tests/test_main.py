import subprocess
import sys

from lit_mtl import __version__


def test_the_package_runs_as_a_module_and_passes_its_exit_code_on() -> None:
    def run(word: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lit_mtl", word]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    version = run("--version")
    assert (version.returncode, version.stdout.strip()) == (0, __version__)
    assert run("nonsense").returncode == 2
