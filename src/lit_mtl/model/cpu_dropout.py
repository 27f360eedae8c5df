"""Dropout that costs little on a processor.

torch draws a number of a serial generator for each element that may be dropped there, and its
attention with dropout falls back to many small operations: together an eighth of a training step of
a small encoder. Here one 64-bit number decides about four elements, and attention with dropout is two
products with a softmax between them, as in transformers' eager attention.

Shapes: B rows, A attention heads, T tokens, K dimensions of a head.
"""

import torch
from torch import Tensor
from torch.nn import functional

_LEVELS = 1 << 16
"""What 16 random bits can say."""


def dropped_levels(p: float) -> int:
    """Levels of 65,536 at which an element is dropped: the probability is rounded to one of them."""
    return round(p * _LEVELS)


def dropout(x: Tensor, p: float) -> Tensor:
    """Zeros where elements are dropped, the others scaled so that the expectation stays.

    Args:
        x: of any shape, on the processor.
        p: probability of an element to be dropped, rounded to a multiple of 1/65536; in (0, 1).
    """
    dropped, elements = dropped_levels(p), x.numel()
    words = torch.empty(-(-elements // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.int16)[:elements].view(x.shape) >= dropped - _LEVELS // 2
    return x * (kept.to(x.dtype) * (_LEVELS / (_LEVELS - dropped)))


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, p: float, scale: float
) -> Tensor:
    """Scaled dot-product attention with dropout of its weights, (B, A, T, K).

    Args:
        query: (B, A, T, K).
        key: (B, A, T, K).
        value: (B, A, T, K).
        mask: True where a token may be looked at, or what is added to the scores; (B, 1 or A, T, T).
        p: probability of a weight to be dropped, in (0, 1).
        scale: factor of the scores.
    """
    scores = (query * scale) @ key.transpose(-1, -2)
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    return dropout(scores.softmax(dim=-1), p).to(value.dtype) @ value


def _applies(p: float) -> bool:
    return 0 < dropped_levels(p) < _LEVELS


def functional_dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """In the place of torch's `dropout`: the function above where it applies."""
    if training and not inplace and _applies(p):
        return dropout(input, p)
    return functional.dropout(input, p, training, inplace)


def functional_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """In the place of torch's `scaled_dot_product_attention`: the function above where it applies."""
    if _applies(dropout_p) and not is_causal and not enable_gqa:
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        return attention(query, key, value, attn_mask, p=dropout_p, scale=factor)
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )
