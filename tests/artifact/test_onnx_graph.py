import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer

from lit_mtl import load
from lit_mtl.artifact import onnx_graph
from lit_mtl.artifact.bundle import TrainedModel
from lit_mtl.artifact.onnx_graph import GRAPH, open_session, run_session, write_graph
from lit_mtl.errors import ConfigError
from lit_mtl.model.multitask import Architecture, MultiTaskModel
from lit_mtl.pretrained import load_tokenizer
from lit_mtl.tasks import (
    Classification,
    Multilabel,
    Ordinal,
    RatingDistribution,
    Regression,
    RegressionWithSpread,
)
from tests.conftest import TINY_BERT
from tests.model.families import FAMILIES, family_config


def model_of(family: str, **architecture: object) -> TrainedModel:
    """A random network with a calibrated head of each kind."""
    torch.manual_seed(0)
    network = MultiTaskModel(
        family_config(family),
        tasks={
            "a": Classification(labels=("x", "y", "z"), temperature=2.0),
            "s": Regression(low=-4, high=4, radius=1.0),
            # float32 has steps of 5e-4 at 5000
            "p": Regression(low=0, high=10_000, center=5_000.0, scale=2_000.0, radius=100.0),
            "m": Multilabel(labels=("x", "y"), temperature=3.0),
            "r": RegressionWithSpread(low=-9, high=9, center=1.0, scale=2.0, radius=0.5),
            "d": RatingDistribution(low=0, high=2, prior=(0.5, 0.3, 0.2), radius=0.5),
            "o": Ordinal(low=1, high=5, temperature=0.5),
        },
        architecture=Architecture(embedding_dim=8, **architecture),  # type: ignore[arg-type]
    )
    return TrainedModel(network, load_tokenizer(str(TINY_BERT)))


def test_runtime_and_tokenizer_file_are_enough(exported: Path) -> None:
    """With neither torch nor transformers: what stands in the folder describes itself."""
    session = onnxruntime.InferenceSession(str(exported / GRAPH))
    facts = session.get_modelmeta().custom_metadata_map
    tokenizer = Tokenizer.from_file(str(exported / "tokenizer.json"))
    cut = tokenizer.truncation
    assert cut is not None
    assert cut["max_length"] == int(facts["lit_mtl.max_length"])
    tokenizer.enable_padding()
    texts = ["A fine film.", "dull " * 300, "x"]
    encoded = tokenizer.encode_batch(texts)
    feed = {
        "input_ids": np.array([row.ids for row in encoded], dtype=np.int64),
        "attention_mask": np.array([row.attention_mask for row in encoded], dtype=np.int64),
    }
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, feed), strict=True))
    model = load(exported)
    np.testing.assert_allclose(found["sentence_embedding"], model.embed(texts), atol=1e-5)
    labels = json.loads(facts["lit_mtl.tasks"])["sentiment"]["labels"]
    for row, expected in enumerate(model.predict(texts)):
        assert labels[found["sentiment_prediction"][row].argmax()] == expected["sentiment"]["label"]
        assert found["score_prediction"][row] == pytest.approx(expected["score"]["score"], abs=1e-5)
        assert found["score_interval"][row] == pytest.approx(
            expected["score"]["interval"], abs=1e-5
        )


def test_a_graph_states_what_every_calibrated_kind_states(tmp_path: Path) -> None:
    """From the head's own outputs, by formulas that are written down here again."""
    model = model_of("bert")
    with torch.no_grad():
        for weight in model.network.heads.parameters():
            weight.mul_(20)  # far from chance, where a temperature says more
    write_graph(model, tmp_path / "graph.onnx")
    ids, mask = torch.arange(4 * 9).reshape(4, 9) + 5, torch.ones(4, 9, dtype=torch.int64)
    session = open_session(tmp_path / "graph.onnx")
    found = {
        name: torch.from_numpy(value) for name, value in run_session(session, ids, mask).items()
    }
    with torch.inference_mode():
        heads = model.network(ids, mask).heads
    expected = {"a": (heads["a"] / 2).softmax(-1), "m": (heads["m"] / 3).sigmoid()}
    levels = Ordinal(low=1, high=5).predict(heads["o"]).square()
    expected["o"] = levels / levels.sum(dim=-1, keepdim=True)
    mean, log_variance = heads["r"].unbind(dim=-1)
    spread = 2 * torch.exp(4 * torch.tanh(log_variance / 8))
    score = (1 + 2 * mean).clamp(-9, 9)
    expected["r"] = torch.stack([score, spread], dim=-1)
    likelihood = heads["d"].exp() * torch.tensor([0.5, 0.3, 0.2])
    expected["d"] = likelihood / likelihood.sum(dim=-1, keepdim=True)
    for name, value in expected.items():
        torch.testing.assert_close(found[f"{name}_prediction"], value, atol=1e-4, rtol=1e-4)
    ends = torch.stack([score - spread / 2, score + spread / 2], dim=-1).clamp(-9, 9)
    torch.testing.assert_close(found["r_interval"], ends, atol=1e-4, rtol=1e-4)
    levels = torch.arange(3.0)
    mean = expected["d"] @ levels
    spread = (expected["d"] @ levels.square() - mean.square()).sqrt()
    ends = torch.stack([mean - spread / 2, mean + spread / 2], dim=-1).clamp(0, 2)
    torch.testing.assert_close(found["d_interval"], ends, atol=1e-3, rtol=1e-3)
    assert set(found) == {
        "sentence_embedding",
        *(f"{name}_prediction" for name in "aspmrdo"),
        *(f"{name}_interval" for name in "sprd"),
    }


@pytest.mark.faults
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_becomes_a_graph(family: str, tmp_path: Path) -> None:
    write_graph(model_of(family), tmp_path / "graph.onnx")  # compares on its trial batches


@pytest.mark.parametrize("pooling", ["cls", "max"])
def test_every_pooling_becomes_a_graph(pooling: str, tmp_path: Path) -> None:
    write_graph(model_of("bert", pooling=pooling, normalize=True), tmp_path / "graph.onnx")


def test_a_graph_that_differs_is_refused_by_its_family(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(exported)
    with torch.no_grad():
        model.network.encoder.projection.bias += 0.01
    assert onnx_graph.largest_difference(model, exported / GRAPH) > 1e-3

    def untouched(*args: object, **kwargs: object) -> None:
        (tmp_path / "graph.onnx").write_bytes((exported / GRAPH).read_bytes())

    monkeypatch.setattr(torch.onnx, "export", untouched)
    with pytest.raises(
        ConfigError, match=r"family 'bert' differs from the network by [0-9.e-]+\. Export"
    ):
        write_graph(model, tmp_path / "graph.onnx")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"onnxruntime: pip install 'lit_mtl\[onnx\]'"):
        write_graph(model_of("bert"), tmp_path / "graph.onnx")


def test_a_graph_that_gives_no_numbers_differs(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> dict[str, Any]:
        found = run_session(*arguments)
        return {name: value * np.float32("nan") for name, value in found.items()}

    monkeypatch.setattr(onnx_graph, "run_session", broken)
    assert np.isnan(onnx_graph.largest_difference(load(exported), exported / GRAPH))
