import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer

from lit_mtl import load
from lit_mtl.artifact.bundle import TrainedModel
from lit_mtl.artifact.folder import architecture_of, read_folder, write_manifest, write_model
from lit_mtl.errors import ConfigError, MissingInputError, StorageError
from lit_mtl.model.multitask import Architecture, MultiTaskModel
from lit_mtl.module import MultiTaskModule
from lit_mtl.pretrained import position_offset
from lit_mtl.tasks import Classification, Regression
from tests.conftest import TINY_BERT
from tests.model.families import FAMILIES, family_config

TEXTS = ["A fine film.", "dull", "a b c d e f g h i j k", "so " * 100]

OFFLINE = """
import sys, socket
for name in ("lightning", "pytorch_lightning", "datasets", "torchmetrics", "jsonargparse",
             "tensorboard", "tabulate", "pyarrow", "sentence_transformers", "onnx",
             "onnxruntime"):
    sys.modules[name] = None
def refuse(*args, **kwargs):
    raise AssertionError("no network")
socket.socket.connect = refuse
import json, lit_mtl
model = lit_mtl.load(sys.argv[1])
texts = ["A fine film.", "A dull one."]
print(json.dumps([model.embed(texts).tolist(), model.predict(texts)]))
"""


def written(
    folder: Path, family: str = "bert", *, max_length: int | None = None, **architecture: Any
) -> TrainedModel:
    """A tiny random model of a family as an exported folder."""
    torch.manual_seed(0)
    config = family_config(family)
    tokenizer = AutoTokenizer.from_pretrained(TINY_BERT)
    config.vocab_size = len(tokenizer)
    # some families count positions from the id of padding, so both must mean the same one
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(config.pad_token_id)
    tokenizer.model_max_length = max_length or 64 - position_offset(config)
    tasks = {"a": Classification(labels=("x", "y", "z")), "s": Regression(low=-4, high=4)}
    network = MultiTaskModel(
        config, tasks=tasks, architecture=Architecture(embedding_dim=8, **architecture)
    )
    model = TrainedModel(network, tokenizer)
    folder.mkdir()
    facts = {"tokenizer": write_model(model, folder), "architecture": architecture_of(model)}
    write_manifest(folder, facts)
    return model


@pytest.mark.parametrize(
    ("family", "architecture"),
    [
        *((family, {}) for family in FAMILIES),
        ("bert", {"pooling": "cls", "normalize": True}),
        ("roberta", {"pooling": "max"}),
    ],
)
def test_every_family_is_read_by_sentence_transformers_and_here(
    family: str,
    architecture: dict[str, Any],
    tmp_path: Path,
) -> None:
    model = written(tmp_path / "out", family, **architecture)
    expected = model.embed(TEXTS)
    torch.testing.assert_close(read_folder(tmp_path / "out").embed(TEXTS), expected)
    stock = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    found = stock.encode(TEXTS, batch_size=3, convert_to_tensor=True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    loaded = stock.state_dict()
    for name, value in model.network.encoder.backbone.transformer.state_dict().items():
        assert torch.equal(loaded[f"0.model.{name}"], value), name


def test_both_cut_at_the_same_token(tmp_path: Path) -> None:
    model = written(tmp_path / "out", max_length=9)
    stock = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert stock.max_seq_length == 9
    long = ["a b c d e f g h i j k", "a b c d e f g z z z z"]
    one, other = model.embed(long)
    assert torch.equal(one, other), "the seven letters between the special tokens are the same"
    found = stock.encode(long, convert_to_tensor=True)
    torch.testing.assert_close(found[0], one, atol=1e-5, rtol=0)


def test_a_moved_folder_works_offline_without_what_training_needs(
    exported: Path, tmp_path: Path
) -> None:
    """Issue 6.2: in a process that can import neither Lightning nor the network's way out."""
    moved = shutil.copytree(exported, tmp_path / "elsewhere" / "it")
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(moved)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    vectors, rows = json.loads(done.stdout)
    texts = ["A fine film.", "A dull one."]
    model = load(exported)
    torch.testing.assert_close(torch.tensor(vectors), model.embed(texts), atol=1e-5, rtol=0)
    assert rows[1]["sentiment"]["label"] == model.predict(texts)[1]["sentiment"]["label"]


def test_every_damage_is_found(exported: Path, tmp_path: Path) -> None:
    for number, name in enumerate(json.loads((exported / "manifest.json").read_bytes())["files"]):
        folder = shutil.copytree(exported, tmp_path / str(number))
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(StorageError, match="damaged"):
            load(folder)
        (folder / name).unlink()
        with pytest.raises(StorageError, match="missing"):
            load(folder)
        shutil.rmtree(folder)


def test_what_is_no_export_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="expected an exported folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="not a folder of `export`"):
        load(tmp_path)
    for content, error in (("{", StorageError), ('{"kind": "x", "files": {}}', ConfigError)):
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(error, match=r"manifest\.json"):
            load(tmp_path)


def test_the_card_may_be_edited(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "it")
    (folder / "README.md").write_text("mine\n")
    assert load(folder).embed(["x"]).shape == (1, 256)


def test_all_files_have_the_permissions_of_the_umask(exported: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    modes = {
        path.name: path.stat().st_mode & 0o777 for path in exported.rglob("*") if path.is_file()
    }
    assert set(modes.values()) == {0o666 & ~umask}, modes


def test_a_folder_as_a_backbone_says_what_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The backbone's weights are taken over, and no line is said where there is nothing beside them."""
    model = written(tmp_path / "export")
    network = model.network
    for name in (str(tmp_path / "export"), str(TINY_BERT)):
        module = MultiTaskModule(name, pretrained=name != str(TINY_BERT))
        caplog.clear()
        with caplog.at_level("INFO"):
            module.build(network.tasks)
        said = [line for line in caplog.messages if "begin anew" in line]
        assert bool(said) == (name != str(TINY_BERT))
        if said:
            assert "2_Dense/model.safetensors, heads.safetensors" in said[0]
            own = module.network.encoder.backbone.state_dict()
            taken = network.encoder.backbone.state_dict()
            assert all(torch.equal(value, taken[key]) for key, value in own.items())
