"""Sphinx builds the site of these pages: `make docs`."""

import re
from typing import Any

from lit_mtl.command_table import COMMANDS
from lit_mtl.commands.options import Option, options_of

project = "lit_mtl"
copyright = "the authors of lit_mtl, Apache-2.0"
extensions = ["myst_parser"]
myst_heading_anchors = 3
nitpicky = True
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "lit_mtl"
highlight_language = "text"
smartquotes = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sphinx = False
html_copy_source = False


def cell(text: str) -> str:
    """A text as a cell of a Markdown table, whatever characters it has."""
    return re.sub(r"([\\`*_<>\[\]|$#{}])", r"\\\1", " ".join(text.split()))


def table(options: list[Option]) -> str:
    """Options as a table; those that only print another help are left out."""
    rows = [
        f"| `{' '.join(option.flags) or option.name}` | {cell(option.default or '')} | "
        f"{cell(' '.join([option.help, ', '.join(option.choices)]))} |"
        for option in options
        if not option.name.endswith("help")
    ]
    return "\n".join(
        ["| option | default | what it does |", "|---|---|---|", *rows] if rows else []
    )


def reference() -> str:
    """All options of all commands, from the list that help and completion read."""
    shared = options_of("fit")
    parts = []
    for name, command in COMMANDS.items():
        own = [option for option in options_of(name) if option not in shared]
        parts += [f"## {name}", f"{command.summary[0].upper()}{command.summary[1:]}.", table(own)]
        if command.takes_config:
            parts.append("It has the [options of a run](#options-of-a-run).")
        elif command.takes_trainer_flags:
            parts.append("It has the `--trainer` options of [a run](#options-of-a-run), too.")
    return "\n\n".join([*parts, "## Options of a run", table(shared)])


def write_options(_app: Any, page: str, source: list[str]) -> None:
    """Put the reference on its page as the page is read."""
    if page == "options":
        source[0] += "\n" + reference() + "\n"


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", write_options)
