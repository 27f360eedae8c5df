import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from lit_mtl import load, load_checkpoint
from lit_mtl.artifact.export import evidence_of, export, refuse_foreign
from lit_mtl.artifact.folder import verify_folder
from lit_mtl.artifact.onnx_graph import GRAPH, INT8, open_session, run_texts
from lit_mtl.errors import ConfigError

TEXTS = [
    "A fine film.",
    "  a tedious mess \n",
    "word " * 300,
    "x",
    *(f"{'very ' * (7 * number % 23)}good film number {number}" for number in range(40)),
]


def test_all_four_ways_give_the_same_vectors_and_outputs(calibrated: Path, exported: Path) -> None:
    """Issue 6.1 in small; `benchmarks/parity.py` does it on a thousand real sentences."""
    model, folder = load_checkpoint(calibrated), load(exported)
    expected = model.run(TEXTS)
    vectors = expected.sentence_embedding
    assert vectors.std(dim=0).min() > 1e-3, "vectors that do not differ would compare equal"
    torch.testing.assert_close(folder.embed(TEXTS), vectors, atol=1e-5, rtol=0)
    stock = SentenceTransformer(str(exported), device="cpu", trust_remote_code=False)
    for batch_size in (1, 7):
        found = stock.encode(TEXTS, batch_size=batch_size, convert_to_tensor=True)
        torch.testing.assert_close(found, vectors, atol=1e-5, rtol=0)
    graph = run_texts(model, open_session(exported / GRAPH), TEXTS)
    torch.testing.assert_close(graph["sentence_embedding"], vectors, atol=1e-5, rtol=0)
    for name, task in model.network.tasks.items():
        prediction = task.predict(expected.heads[name])
        torch.testing.assert_close(graph[f"{name}_prediction"], prediction, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            task.predict(folder.run(TEXTS).heads[name]), prediction, atol=1e-5, rtol=0
        )
    interval = model.network.tasks["score"].interval(graph["score_prediction"])
    assert interval is not None
    torch.testing.assert_close(graph["score_interval"], interval, atol=1e-5, rtol=0)


def test_batches_and_order_change_nothing(exported: Path) -> None:
    model = load(exported)
    reference = model.embed(TEXTS)
    for tokens in (1, 50, 10_000):
        found = model.embed(TEXTS, batch_tokens=tokens)
        torch.testing.assert_close(found, reference, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.embed(TEXTS[::-1]).flip(0), reference, atol=1e-5, rtol=0)


def test_the_folder_is_calibrated_without_data(calibrated: Path, exported: Path) -> None:
    tasks = json.loads((exported / "tasks.json").read_bytes())
    assert tasks["sentiment"]["temperature"] != 1.0
    assert tasks["score"]["radius"] > 0
    row = load(exported).predict(["A fine film."])[0]
    low, high = row["score"]["interval"]
    assert -4 <= low <= row["score"]["score"] <= high <= 4
    logits = load_checkpoint(calibrated).run(["A fine film."]).heads["sentiment"]
    expected = (logits / tasks["sentiment"]["temperature"]).softmax(-1)[0].tolist()
    assert list(row["sentiment"]["probabilities"].values()) == pytest.approx(expected, abs=1e-5)


def test_a_checkpoint_that_was_not_measured_is_exported_uncalibrated(
    calibrated: Path, tmp_path: Path
) -> None:
    """`last.ckpt` has other weights than those whose outputs were calibrated."""
    evidence = export(calibrated.parent / "last.ckpt", tmp_path / "out")
    assert (evidence.calibration, evidence.results) == (None, {})
    assert json.loads((tmp_path / "out" / "tasks.json").read_bytes())["score"]["radius"] is None
    assert "interval" not in load(tmp_path / "out").predict(["x"])[0]["score"]
    assert "Not recorded" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert evidence_of(calibrated).calibration is not None


def test_there_is_no_pickle_in_it_and_everything_has_its_sum(exported: Path) -> None:
    names = {
        path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()
    }
    assert names == {*verify_folder(exported)["files"], "manifest.json", "README.md"}
    for name in names:
        assert Path(name).suffix in (".json", ".safetensors", ".md", ".onnx")
    modules = [entry["type"] for entry in json.loads((exported / "modules.json").read_bytes())]
    assert all(kind.startswith("sentence_transformers.models.") for kind in modules)
    assert set(load_file(exported / "heads.safetensors")) == {
        f"{task}.1.{part}" for task in ("sentiment", "score") for part in ("weight", "bias")
    }


def test_the_loss_of_the_int8_graph_is_in_manifest_and_card(exported: Path) -> None:
    loss = json.loads((exported / "manifest.json").read_bytes())["graphs"][INT8]
    assert loss["sentences"] == 20
    assert loss["bytes_int8"] < loss["bytes"]
    assert 0.5 < loss["cosine_least"] <= loss["cosine_mean"] < 1
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert f"cosine of the embeddings {loss['cosine_mean']:.4f}" in card
    assert "20 sentences of films.txt" in card


def test_the_card_has_metrics_with_intervals_calibration_and_config(
    calibrated: Path, exported: Path
) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    results = json.loads((calibrated.parents[1] / "results.json").read_bytes())
    accuracy = results["results"]["test"]["sentiment"]["accuracy"]
    low, high = results["confidence_intervals"]["test"]["sentiment"]["accuracy"]
    assert low < accuracy < high
    row = next(line for line in card.splitlines() if "accuracy" in line and "test" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "sentiment", "test", "accuracy", f"{accuracy:.4f}", f"{low:.4f} to {high:.4f}",
        str(results["results"]["test"]["sentiment"]["n"]),
    ]  # fmt: skip
    assert "| sentiment | val     | after" in card
    assert "seed_everything: 0" in card
    assert str(calibrated.parents[4]) not in card, "a path of the machine"


def test_only_an_export_is_replaced_and_only_if_asked(calibrated: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()  # empty: nothing is lost
    export(calibrated, output)
    with pytest.raises(ConfigError, match="--overwrite"):
        export(calibrated, output)
    (output / "README.md").write_text("edited\n")
    export(calibrated, output, overwrite=True)
    assert "edited" not in (output / "README.md").read_text(encoding="utf-8")
    (output / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        export(calibrated, output, overwrite=True)
    assert (output / "notes.txt").read_text() == "mine"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    for path in (foreign, foreign / "thesis.tex"):
        with pytest.raises(ConfigError, match="something else"):
            refuse_foreign(path, overwrite=True)
    shutil.copy(output / "modules.json", foreign / "manifest.json")
    with pytest.raises(ConfigError, match="no export"):
        refuse_foreign(foreign, overwrite=True)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
