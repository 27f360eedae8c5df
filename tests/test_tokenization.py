from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_mtl import tokenization
from lit_mtl.tokenization import tokenize
from tests.data.corpora import TOKENIZER


def test_texts_are_stripped_and_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TOKENIZER, "model_max_length", 6)
    ids, cut = tokenize(TOKENIZER, [" a b\n", "a b", "a b c d e f g"])
    assert ids[0] == ids[1] == TOKENIZER("a b")["input_ids"]
    assert len(ids[2]) == 6
    assert ids[2][-1] == TOKENIZER.sep_token_id
    assert cut == [False, False, True]
    assert tokenize(TOKENIZER, []) == ([], [])


WORDS = st.sampled_from(
    ["film", "x" * 40, "x" * 150, "Ünlü", "日本", "\x1c", "'s", "", "\u3000", "\x00\xad"]
)
"""One is longer than what a word of this tokenizer may be, and so is one unknown token."""


@given(words=st.lists(WORDS, max_size=60), limit=st.integers(3, 12), characters=st.integers(1, 9))
def test_the_beginning_of_a_long_text_gives_the_ids_of_all_of_it(
    words: list[str], limit: int, characters: int
) -> None:
    text = " ".join(words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TOKENIZER, "model_max_length", limit)
        patch.setattr(tokenization, "_CHARACTERS", characters)
        found = tokenize(TOKENIZER, [text])
    whole = TOKENIZER(text, verbose=False)["input_ids"]
    assert found[1] == [len(whole) > limit]
    assert found[0] == [TOKENIZER(text, truncation=True, max_length=limit)["input_ids"]]


def test_of_a_text_of_ten_megabytes_little_is_tokenised() -> None:
    seen: list[int] = []

    class Counted:
        model_max_length = 16

        def __call__(self, texts: str | list[str], **options: Any) -> Any:
            seen.append(sum(map(len, [texts] if isinstance(texts, str) else texts)))
            return TOKENIZER(texts, **options)

    counted: Any = Counted()
    ids, cut = tokenize(counted, ["long " * 2_000_000, "x" * 300 + " " + "y " * 5_000_000])
    assert [len(row) for row in ids] == [16, 16]
    assert cut == [True, True]
    assert sum(seen) < 20_000
