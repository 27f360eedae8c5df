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


@pytest.mark.parametrize(
    ("options", "sentence", "base"),
    [
        (
            {"backbone": "org/bert"},
            "It began with the pre-trained backbone `org/bert`.",
            "org/bert",
        ),
        ({"backbone": "minilm"}, "It began with the pre-trained backbone `minilm`.", None),
        ({"backbone": "/home/me/mine"}, "It began with the pre-trained backbone `mine`.", None),
        ({"backbone": "org/bert", "pretrained": False}, "It began with random weights.", None),
        (
            {"backbone": "../me/mine", "warm_start": True},
            "It went on from the exported model `mine`.",
            None,
        ),
    ],
)
def test_it_says_how_the_weights_began(
    exported: Path, options: dict[str, object], sentence: str, base: str | None
) -> None:
    card = model_card(load(exported), Evidence(config={"model": options}), name="it", graphs={})
    assert f" {sentence} Sentences are cut" in card
    assert "me/" not in card
    assert yaml.safe_load(card.split("---")[1]).get("base_model") == base
    shown = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])["model"]["backbone"]
    assert shown == str(options["backbone"]).removeprefix("/home/me/").removeprefix("../me/")


def test_a_base_in_a_folder_is_not_one_of_the_hub(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "bert").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    evidence = Evidence(config={"model": {"backbone": "org/bert"}})
    assert "base_model" not in model_card(load(exported), evidence, name="it", graphs={})


def test_a_measure_that_nothing_varies_for_has_no_value(exported: Path) -> None:
    health = {"kept_similarity": None, "mean_cosine": 1.0}
    evidence = Evidence(results={"results": {}, "embedding": health})
    card = model_card(load(exported), evidence, name="it", graphs={})
    rows = [line.split() for line in card.splitlines() if line.startswith(("| kept", "| mean"))]
    assert [row[3] for row in rows] == ["-", "1.0000"]
