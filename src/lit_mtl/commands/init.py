"""`init`: looks at a user's files and writes a config to begin with, with its reasons."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from lit_mtl.commands.findings import inspect
from lit_mtl.commands.first_config import config, next_commands
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.errors import ConfigError
from lit_mtl.files import write_atomically
from lit_mtl.pretrained import PACKAGED


def run(name: str, args: Sequence[str]) -> None:
    """Run the command.

    Args:
        name: the command.
        args: what stands behind it.
    """
    silence_upstream_notes()
    options = parser(name).parse_args(args)
    output = Path(options.output or f"{Path(options.path).resolve().stem}.yaml")
    if output.exists():
        raise ConfigError(f"{output}: is there already. Name another file with --output")
    findings = inspect(options.path)
    text = config(findings, backbone=options.backbone, output=output)
    write_atomically(output, text.encode("utf-8"))
    print(f"{text}\nwritten to {output}; next:")
    for command in next_commands(output):
        print(f"  {command}")


def parser(name: str) -> argparse.ArgumentParser:
    """What the command accepts.

    Args:
        name: the command.
    """
    parser = argparse.ArgumentParser(prog=f"python -m lit_mtl {name}", allow_abbrev=False)
    parser.add_argument(
        "path", help="a folder of <label>.txt files or tables, a table, or a saved dataset"
    )
    parser.add_argument("--output", help="the config to write; default: named like the path")
    parser.add_argument(
        "--backbone",
        default="bert-base-uncased",
        help=f"hub name, local folder, or {PACKAGED}",
    )
    return parser
