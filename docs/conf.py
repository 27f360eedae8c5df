"""Sphinx builds the site of these pages: `make docs`."""

import re
from typing import Any

from lit_mtl.command_table import COMMANDS
from lit_mtl.commands.options import options_of

project = "lit_mtl"
copyright = "the authors of lit_mtl, Apache-2.0"
extensions = ["myst_parser"]
myst_heading_anchors = 3
nitpicky = True
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "lit_mtl"
html_show_sphinx = False
html_copy_source = False


def cell(text: str) -> str:
    """A text as a cell of a Markdown table, whatever characters it has."""
    return re.sub(r"([\\`*_<>\[\]|$#{}])", r"\\\1", " ".join(text.split()))


def reference() -> str:
    """All options of all commands, from the list that help and completion read."""
    parts, shared = [], False
    for name, command in COMMANDS.items():
        options = options_of(name)
        if command.takes_config and shared:
            own = [option for option in options if option.section == "" and option.help]
            parts += [f"## {name}", f"{command.summary[0].upper()}{command.summary[1:]}."]
            parts.append("Options as of `fit`" + (", and:" if own else "."))
            options = own
        else:
            parts += [f"## {name}", f"{command.summary[0].upper()}{command.summary[1:]}."]
        shared |= command.takes_config
        if options:
            rows = [
                f"| `{' '.join(option.flags) or option.name}` | {cell(option.default or '')} | "
                f"{cell(option.help)}{'; one of ' + cell(', '.join(option.choices)) if option.choices else ''} |"
                for option in options
            ]
            parts.append("\n".join(["| option | default | what it does |", "|---|---|---|", *rows]))
    return "\n\n".join(parts)


def write_options(_app: Any, page: str, source: list[str]) -> None:
    """Put the reference on its page as the page is read."""
    if page == "options":
        source[0] += "\n" + reference() + "\n"


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", write_options)
