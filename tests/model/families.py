"""A tiny random model of every supported family."""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

LAYERS = 3

_SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}

FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {"pad_token_id": 1},
    "xlm-roberta": {"pad_token_id": 1},
    "camembert": {"pad_token_id": 1},
    "distilbert": {"dim": 16, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 32},
    "mpnet": {"pad_token_id": 1},
    "electra": {"embedding_size": 8},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
        "conv_kernel_size": 3,
        "conv_act": "gelu",
    },
    "modernbert": {
        "cls_token_id": 2,
        "sep_token_id": 3,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "local_attention": 4,
    },
}


def family_config(family: str) -> PreTrainedConfig:
    """Configuration of a tiny model; the names that the family does not know are left out."""
    values = {**_SMALL, **FAMILIES[family]}
    if family == "distilbert":
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads"):
            del values[name]
    return AutoConfig.for_model(family, **values)
