"""Sentences to token ids, in training and in inference alike."""

from collections.abc import Callable, Sequence
from functools import partial

from transformers import PreTrainedTokenizerBase

_CHARACTERS = 100
"""Characters a token of the longest sentence, behind which a text is not looked at in general."""

Tokenize = Callable[[Sequence[str]], tuple[list[list[int]], list[bool]]]
"""Texts to ids, and whether a text was cut."""


def tokenizing(tokenizer: PreTrainedTokenizerBase) -> Tokenize:
    """`tokenize` with a tokenizer."""
    return partial(tokenize, tokenizer)


def tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> tuple[list[list[int]], list[bool]]:
    """Ids of texts, special ones included, cut to the tokenizer's `model_max_length`.

    White space around a text is dropped. A fast tokenizer works on as many texts at once as there are
    cores. Of a text that is much too long only the beginning is looked at: a tokenizer takes hundreds
    of bytes for each character.

    Args:
        tokenizer: whose ids they are.
        texts: any number of texts.

    Returns:
        The ids of each text, and whether it was cut.
    """
    if not texts:
        return [], []
    limit = tokenizer.model_max_length
    whole = [text.strip() for text in texts]
    heads = [_beginning(text, _CHARACTERS * limit) for text in whole]
    ids = _encode(tokenizer, heads)
    for row, text in enumerate(whole):
        length = _CHARACTERS * limit
        while len(ids[row]) <= limit and len(heads[row]) < len(text):
            length *= 8  # the beginning was of few tokens
            heads[row] = _beginning(text, length)
            ids[row] = _encode(tokenizer, [heads[row]])[0]
    cut = [len(tokens) > limit for tokens in ids]
    for row, too_long in enumerate(cut):
        if too_long:
            ids[row] = tokenizer(heads[row], truncation=True, max_length=limit)["input_ids"]
    return ids, cut


def _encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(
        list(texts), verbose=False, return_attention_mask=False, return_token_type_ids=False
    )["input_ids"]
    return ids


def _beginning(text: str, length: int) -> str:
    """The whole words, by spaces, of the first characters of a text; all of it if there is none."""
    if len(text) <= length:
        return text
    return text[: text.rfind(" ", 0, length)].rstrip(" ") if " " in text[:length] else text
