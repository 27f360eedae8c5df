import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from lit_mtl import pretrained
from lit_mtl.errors import ConfigError, MissingInputError
from tests.conftest import save_tiny_backbone
from tests.model.families import family_config


def test_a_folder_and_the_packaged_encoder_are_found(tiny_bert: Path) -> None:
    assert pretrained.resolve(str(tiny_bert)) == str(tiny_bert)
    assert pretrained.load_config("minilm").num_hidden_layers == 6
    assert pretrained.resolve("bert-base-uncased") == "bert-base-uncased"


@pytest.mark.slow
def test_what_is_not_there_is_named_with_the_choices(tmp_path: Path) -> None:
    for name in (str(tmp_path / "nowhere"), "./nowhere"):
        with pytest.raises(MissingInputError, match="nowhere"):
            pretrained.load_config(name)
    with pytest.raises(MissingInputError, match=r"hub.*folder.*minilm"):
        pretrained.load_config("no-such-model-anywhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingInputError, match="empty"):
        pretrained.load_tokenizer(str(empty))


def test_a_folder_without_weights_is_not_filled_with_random_ones(
    tiny_bert: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_bert, folder)
    config = pretrained.load_config(str(folder))
    weights = load_file(folder / "model.safetensors")
    lost = weights.pop("encoder.layer.1.output.dense.weight")
    assert lost.numel()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lack 1 .*layer\.1\.output\.dense\.weight"):
        pretrained.load_backbone(str(folder), config, add_pooling_layer=False)
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingInputError, match="copy"):
        pretrained.load_backbone(str(folder), config)


def test_half_precision_weights_are_read_as_float32(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    shutil.copytree(tiny_bert, folder)
    weights = {
        name: value.half() for name, value in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model = pretrained.load_backbone(
        str(folder), pretrained.load_config(str(folder)), add_pooling_layer=False
    )
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_tokenizer_survives_packing(tiny_bert: Path) -> None:
    tokenizer = pretrained.load_tokenizer(str(tiny_bert))
    config = pretrained.load_config(str(tiny_bert))
    files = pretrained.pack_tokenizer(tokenizer)
    assert {value.dtype for value in files.values()} == {torch.uint8}
    again = pretrained.unpack_tokenizer(files, config)
    text = "It's a FINE film, isn't it? #1"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.model_max_length == tokenizer.model_max_length == 128


def test_a_packed_name_cannot_leave_its_folder(tiny_bert: Path, tmp_path: Path) -> None:
    files = pretrained.pack_tokenizer(pretrained.load_tokenizer(str(tiny_bert)))
    marker = tmp_path / "marker"
    files[f"../../../../../../../..{marker}"] = torch.zeros(1, dtype=torch.uint8)
    files[str(marker)] = torch.zeros(1, dtype=torch.uint8)
    pretrained.unpack_tokenizer(files, pretrained.load_config(str(tiny_bert)))
    assert not marker.exists()


def test_sentences_are_no_longer_than_the_positions(tmp_path: Path) -> None:
    folder = save_tiny_backbone(tmp_path / "short", max_position_embeddings=20)
    assert pretrained.load_tokenizer(str(folder)).model_max_length == 20
    assert pretrained.position_offset(family_config("bert")) == 0
    assert pretrained.position_offset(family_config("roberta")) == 2


def test_a_config_with_foreign_code_is_rebuilt_without_it(tiny_bert: Path) -> None:
    values = pretrained.load_config(str(tiny_bert)).to_dict()
    values["auto_map"] = {"AutoModel": "evil.Model"}
    config = pretrained.config_from_json(json.dumps(values))
    assert not hasattr(config, "auto_map")
    assert config.hidden_size == 32


def test_a_repository_with_foreign_code_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    folder, marker = tmp_path / "evil", tmp_path / "marker"
    shutil.copytree(tiny_bert, folder)
    values = json.loads((folder / "config.json").read_text())
    values |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    with pytest.raises(MissingInputError, match="evil"):
        pretrained.load_config(str(folder))
    assert not marker.exists()


def test_a_packed_tokenizer_does_not_depend_on_what_was_tokenised(tiny_bert: Path) -> None:
    tokenizer = pretrained.load_tokenizer(str(tiny_bert))
    fresh = pretrained.pack_tokenizer(tokenizer)
    tokenizer("film " * 200, truncation=True, max_length=7, padding="max_length")
    used = pretrained.pack_tokenizer(tokenizer)
    assert used.keys() == fresh.keys()
    assert all(torch.equal(content, used[name]) for name, content in fresh.items())
    cutting = pretrained.pack_tokenizer(tokenizer, cuts=True)
    alone = Tokenizer.from_str(bytes(cutting["tokenizer.json"].numpy()).decode())
    assert len(alone.encode("film " * 200).ids) == tokenizer.model_max_length
    assert len(alone.encode("film").ids) == 3
    # and calling it cuts as it is told, or not at all
    for files in (fresh, cutting):
        again = pretrained.unpack_tokenizer(files, pretrained.load_config(str(tiny_bert)))
        assert len(again("film " * 200, verbose=False)["input_ids"]) == 202


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b""),
        ("model.safetensors", b"x" * 100),
        ("tokenizer.json", b"{}"),
        ("config.json", b'{"model_type": "bert", "hidden_size": "large"}'),
    ],
)
def test_a_damaged_folder_is_named(
    tiny_bert: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_bert, folder)
    (folder / name).write_bytes(content)

    def load() -> None:
        pretrained.load_tokenizer(str(folder))
        pretrained.load_backbone(str(folder), pretrained.load_config(str(folder)))

    with pytest.raises(MissingInputError, match=r"copy' could not be loaded"):
        load()


def test_weights_of_another_size_than_the_config_says_are_refused(
    tiny_bert: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    config["intermediate_size"] *= 2
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(MissingInputError, match="could not be loaded"):
        pretrained.load_backbone(str(folder), pretrained.load_config(str(folder)))


def test_a_checkpoint_s_tokenizer_with_a_file_that_cannot_be_is_refused(tiny_bert: Path) -> None:
    files = pretrained.pack_tokenizer(pretrained.load_tokenizer(str(tiny_bert)))
    files[".."] = torch.zeros(1, dtype=torch.uint8)
    with pytest.raises(ConfigError, match="tokenizer cannot be read"):
        pretrained.unpack_tokenizer(files, pretrained.load_config(str(tiny_bert)))
