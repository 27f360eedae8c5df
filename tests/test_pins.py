"""The versions and sums that an installation is pinned to."""

import re

from tests.conftest import ROOT

PIN = re.compile(r"^([\w.-]+)==([\w.+]+)((?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", re.MULTILINE)


def pins(name: str) -> dict[str, tuple[str, int]]:
    """Package to its version, without a local part, and the number of its sums."""
    found = PIN.findall((ROOT / name).read_text())
    return {
        re.sub(r"[-_.]+", "-", package).lower(): (version.partition("+")[0], sums.count("sha256"))
        for package, version, sums in found
    }


def test_the_lock_has_every_pin_with_its_sums() -> None:
    locked, constrained = pins("requirements.lock"), pins("constraints.txt")
    assert len(constrained) > 90
    for name, (version, _) in constrained.items():
        assert locked[name][0] == version, name
    assert all(sums > 0 for _, sums in locked.values())
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    requirements = [line for line in lines if line and line[0] not in "# "]
    assert len(requirements) == len(locked), "each line is understood here"
