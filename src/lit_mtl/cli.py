"""The command table. It imports nothing heavy, so that `--help` answers at once."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from lit_mtl.errors import LitMTLError


@dataclass(frozen=True)
class Command:
    """One subcommand.

    Args:
        summary: its line in `--help`.
        runner: module that holds its function `run(name, args)`.
    """

    summary: str
    runner: str


_TRAINER = "lit_mtl.commands.train"
COMMANDS = {
    "fit": Command("train on a config, then validate and test the best checkpoint", _TRAINER),
    "validate": Command("measure a checkpoint on the validation split", _TRAINER),
    "test": Command("measure a checkpoint on the test split", _TRAINER),
    "predict": Command("write each task's prediction for a file of sentences", _TRAINER),
    "groups": Command("show data and parameter groups without training", _TRAINER),
    "plan": Command("show a freezing plan: stages, rates, cost; or --generate gradual", _TRAINER),
    "embed": Command("show or save the embeddings of sentences", "lit_mtl.commands.embed"),
}

_HELP = """usage: python -m lit_mtl COMMAND [options]

One shared sentence encoder with several heads, from a few files of sentences.

commands:
{commands}

examples:
  python -m lit_mtl fit --config configs/quickstart.yaml
  python -m lit_mtl fit --config configs/bert_base.yaml --data.path my_folder --trainer.max_epochs 2
  python -m lit_mtl embed --ckpt_path best.ckpt "A fine film." "A dull one."

`python -m lit_mtl COMMAND --help` lists a command's options.
"""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: the arguments behind `python -m lit_mtl`. None: those of this process.

    Returns:
        The exit code: 0 done, 2 wrong usage or config, 65 bad data, 66 missing input.
    """
    words = list(sys.argv[1:] if args is None else args)
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if words[0] == "--version":
        print(import_module("lit_mtl").__version__)
        return 0
    if words[0] not in COMMANDS:
        valid = ", ".join(COMMANDS)
        print(f"lit_mtl: expected a command out of {valid}; found {words[0]!r}", file=sys.stderr)
        return 2
    run: Callable[[str, Sequence[str]], None] = import_module(COMMANDS[words[0]].runner).run
    try:
        run(words[0], words[1:])
    except LitMTLError as error:
        print(f"lit_mtl {words[0]}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def help_text() -> str:
    """The overview that `--help` prints."""
    lines = [f"  {name:<9} {command.summary}" for name, command in COMMANDS.items()]
    return _HELP.format(commands="\n".join(lines)).rstrip()
