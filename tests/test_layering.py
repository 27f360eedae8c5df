"""Imports point strictly down, and rooms on one floor do not import each other."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "src" / "lit_mtl"

FLOORS = {
    "errors": 0,
    "files": 0,
    "tasks": 1,
    "optim": 1,
    "pretrained": 1,
    "data": 2,
    "model": 2,
    "evaluation": 2,
    "module": 3,
    "callbacks": 3,
    "artifact": 3,
    "commands": 4,
    "cli": 5,
    "__main__": 6,
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
