"""Values as YAML on one line, which any reader takes for what they are; and text for comments."""

import re

import yaml


class _Dumper(yaml.SafeDumper):
    """Quotes all text that any reader might take for something else, as jsonargparse does `1e3`."""


_WORD = re.compile(r"[^\W\d][\w ./()-]*")


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if _WORD.fullmatch(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def as_yaml(value: object) -> str:
    """A value on one line."""
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=True,
        width=10**6,
        sort_keys=False,
        allow_unicode=True,
    )
    return text.removesuffix("\n").removesuffix("\n...")


def one_line(text: str) -> str:
    """Text from the user's files as it may stand in a comment."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
