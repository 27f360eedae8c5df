"""Imports point strictly down, and rooms on one floor do not import each other."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "src" / "lit_mtl"

FLOORS = {
    "command_table": 0,
    "confusion": 0,
    "errors": 0,
    "log_moments": 0,
    "ranks": 0,
    "signals": 0,
    "verbosity": 1,
    "files": 1,
    "reliability": 1,
    "folders": 2,
    "tasks": 2,
    "optim": 2,
    "pretrained": 2,
    "tokenization": 2,
    "checkpoints": 2,
    "data": 3,
    "model": 3,
    "evaluation": 3,
    "calibration": 3,
    "embedding_health": 1,
    "paired": 4,
    "artifact": 4,
    "module": 5,
    "callbacks": 6,
    "commands": 7,
    "cli": 8,
    "__main__": 9,
}


def imported_rooms(source: str) -> set[str]:
    """The rooms of this package that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("lit_mtl.")}


def forbidden(room: str, imported: set[str]) -> set[str]:
    return {name for name in imported if name != room and FLOORS[name] >= FLOORS[room]}


def files() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    assert not forbidden(room, imported_rooms(path.read_text(encoding="utf-8")))


def test_an_upward_import_would_be_found() -> None:
    assert forbidden("data", imported_rooms("def f():\n    from lit_mtl.model.pooling import x\n"))
    assert forbidden("tasks", imported_rooms("import lit_mtl.module")) == {"module"}


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_file_has_a_twin(path: Path) -> None:
    if path.name == "__init__.py":
        pytest.skip("rooms are tested through their files")
    twin = ROOT / "tests" / path.relative_to(PACKAGE).parent / f"test_{path.stem.strip('_')}.py"
    assert twin.is_file()
