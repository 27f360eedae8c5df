"""Any value stands on one line, and no reader takes it for another."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse._loaders_dumpers import yaml_load

from lit_mtl.commands.yaml_text import as_yaml

_WORDS = (
    "null ~ yes No ON 2024 1e3 1E+3 .5 1_000 0x1F 0o7 1:30 2024-01-01 .nan -.inf nan = << - --- ... #"
    " #x a: a:b [x] {x} 'q' -x ?x &a *a !t %p @x `x true None +1 é x,y \\n"
)
NASTY = _WORDS.split()
"""What YAML 1.1, YAML 1.2 or jsonargparse may take for something else than text."""


@pytest.mark.parametrize("loader", [yaml.safe_load, yaml_load])
@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.sampled_from(NASTY))
def test_any_name_is_read_back_as_it_is(loader: Callable[[str], Any], name: str) -> None:
    for value in (name, {name: name}, [name], {"a": {name: 1}}):
        text = as_yaml(value)
        assert len(text.splitlines()) == 1
        assert loader(f"key: {text}") == {"key": value}
