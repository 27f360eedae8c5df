from pathlib import Path

import pytest
import yaml

from lit_mtl import load
from lit_mtl.artifact.card import Evidence, model_card


def test_the_code_of_the_card_runs(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exported.parent)
    card = (exported / "README.md").read_text(encoding="utf-8")
    programs = [part.split("```")[0] for part in card.split("```python\n")[1:]]
    assert len(programs) == 2
    for program in programs:
        found: dict[str, object] = {}
        exec(compile(program, "card", "exec"), found)
        assert tuple(found["embeddings"].shape) == (1, 256)  # type: ignore[attr-defined]


def test_its_head_is_yaml_that_the_hub_reads(exported: Path) -> None:
    head = (exported / "README.md").read_text(encoding="utf-8").split("---")[1]
    assert yaml.safe_load(head)["library_name"] == "sentence-transformers"


def test_what_is_not_known_is_said_and_paths_stay_private(exported: Path) -> None:
    config = {"data": {"path": "/home/me/secret/movies", "batch_size": 8}, "trainer": {}}
    card = model_card(load(exported), Evidence(config=config), name="it", graphs={})
    assert "Trained on: movies." in card
    assert "secret" not in card
    assert "batch_size: 8" in card
    assert "no results of these weights" in card
    assert "scores have no interval" in card


def test_several_sources_are_named_without_their_places(exported: Path) -> None:
    sources = {"forum": {"path": "/home/me/secret", "test_path": "secret", "tasks": {"a": "b"}}}
    config = {"data": {"sources": sources, "cache_dir": "/secret"}, "trainer": {}}
    card = model_card(load(exported), Evidence(config=config), name="it", graphs={})
    assert "Trained on: forum." in card
    assert "secret" not in card
    assert "a: b" in card
