"""What `--help` prints, of everything and of each command, without importing what is heavy."""

import argparse
import re
from collections.abc import Iterable, Sequence

from lit_mtl.command_table import COMMANDS, HELP_FLAGS, PROG, TRAINER_HELP
from lit_mtl.commands.options import Option, options_of

_OVERVIEW = """usage: {prog} COMMAND [options]

One shared sentence encoder with several heads, from a few files of sentences. The examples, one
after the other, lead from a folder of files to a model in use.

{commands}

`{prog} COMMAND --help`, or `help COMMAND`, lists a command's options; --version prints the version.
exit codes: 0 done, 1 anything else, 2 wrong usage or config, 65 bad data, 66 missing input, 70 training
diverged, 74 full disk or damaged file, 130 and 143 stopped by Ctrl-C and SIGTERM
"""

_WORDS = {
    "--help": "show this and exit",
    "--config": "a config file in YAML; may be given several times, later ones win",
    "--print_config": "print all settings that would be used as a config, and exit",
    "--seed_everything": "the seed of all that is drawn; true draws one",
    "--tasks.help": "show the fields of a kind of task, such as Ordinal, and exit",
    "--data.sources.help": "show the fields of a source, and exit",
    "--freezing.stages.help": "show the fields of a stage, and exit",
}
"""Own words for what Lightning and jsonargparse declare for every program."""

OFTEN = {
    "--trainer.max_epochs": "epochs to train",
    "--trainer.max_steps": "optimizer steps at most; -1 sets no such limit",
    "--trainer.accelerator": "auto, cpu or gpu",
    "--trainer.devices": "how many of them in this machine, -1 for all, or which: [0,1]",
    "--trainer.num_nodes": "how many machines",
    "--trainer.strategy": "auto or ddp; fit refuses others",
    "--trainer.precision": "32-true, bf16-mixed or 16-mixed",
    "--trainer.accumulate_grad_batches": "batches of which each optimizer step takes the gradient",
    "--trainer.gradient_clip_val": "largest norm of a step's gradient",
    "--trainer.val_check_interval": "how often to validate: a share of an epoch, or batches",
    "--trainer.log_every_n_steps": "steps from one logged value to the next; 50 if not given",
    "--trainer.enable_progress_bar": "true for Lightning's bars instead of the line of progress",
    "--trainer.logger": "false for none; TensorBoard if not given",
    "--trainer.callbacks": "more callbacks, such as EarlyStopping in a config file",
}
"""The flags of the Trainer that are often needed, in this order, in short."""

_ORDER = (
    "--config",
    "--tasks",
    "--ckpt_path",
    "--seed_everything",
    "--print_config",
    "--tasks.help",
    "--quiet",
    "--verbose",
)
"""The options of the command itself that stand between its own ones and `--help`."""

_SECTIONS = (
    "",
    "model",
    "data",
    "freezing",
    "prefix_cache",
    "projection_init",
    "head_init",
    "protection",
    "pairs",
    "averaging",
    "checkpoint",
    "dashboards",
)
"""This project's own options, in this order."""


def overview() -> str:
    """The commands, grouped by what one wants to do."""
    lines: list[str] = []
    for purpose in dict.fromkeys(command.purpose for command in COMMANDS.values()):
        lines.append(f"{purpose}:")
        for name, command in COMMANDS.items():
            if command.purpose == purpose:
                lines.append(f"  {name:<11} {command.summary}")
                lines.append(f"              {example(name)}")
    return _OVERVIEW.format(prog=PROG, commands="\n".join(lines)).rstrip()


def example(name: str) -> str:
    """A command as one may type it."""
    return f"{PROG} {name} {COMMANDS[name].example}"


def help_asked_for(name: str, args: Sequence[str]) -> str | None:
    """The help that the words behind a command ask for; None if they ask for none.

    Args:
        name: the command.
        args: what stands behind it. What follows `--` are sentences.
    """
    words = args[: args.index("--")] if "--" in args else args
    if COMMANDS[name].takes_trainer_flags and TRAINER_HELP in words:
        return _trainer_help(name)
    return _command_help(name) if any(flag in words for flag in HELP_FLAGS) else None


def _command_help(name: str) -> str:
    """Own options first, then those of the Trainer that are often needed."""
    command = COMMANDS[name]
    summary = f"{command.summary[0].upper()}{command.summary[1:]}."
    options = sorted(options_of(name), key=_place)
    parser = _printer(name, f"{summary}\n\n  {example(name)}", _epilog(name))
    for section in _SECTIONS:
        _add(parser, section or "options", (o for o in options if o.section == section))
    if command.takes_config:
        known = {option.name: option for option in options}
        title = f"of Lightning's Trainer, more with {TRAINER_HELP}"
        _add(parser, title, (known[flag] for flag in OFTEN))
    return parser.format_help().rstrip()


def _place(option: Option) -> int:
    if option.name in _ORDER:
        return 1 + _ORDER.index(option.name)
    return 1 + len(_ORDER) if "--help" in option.flags else 0


def _trainer_help(name: str) -> str:
    """All flags of the Trainer in Lightning's words."""
    parser = _printer(name, "All flags of Lightning's Trainer.", "")
    options = [option for option in options_of(name) if option.section == "trainer"]
    _add(parser, "options", options, words={})
    return parser.format_help().rstrip()


def _epilog(name: str) -> str:
    command = COMMANDS[name]
    if command.takes_config:
        scope = f"{name.upper()}__" if name in ("fit", "validate", "test") else ""
        return (
            "Every option may stand in a config file (`model: {lr: 1e-4}` for --model.lr 1e-4) and in the\n"
            f"environment (LIT_MTL_{scope}MODEL__LR). Options win over files, these over the environment."
        )
    if command.takes_trainer_flags:
        return (
            "Flags of Lightning's Trainer, such as --trainer.devices 2 --trainer.strategy ddp, run it in\n"
            f"several processes; {TRAINER_HELP} lists them."
        )
    return ""


def _printer(name: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """A parser that parses nothing, but lays out help."""

    def formatter(prog: str) -> argparse.HelpFormatter:
        return argparse.RawDescriptionHelpFormatter(prog, max_help_position=30)

    return argparse.ArgumentParser(
        usage=f"{PROG} {name} [options]",
        description=description,
        epilog=epilog,
        formatter_class=formatter,
        add_help=False,
    )


def _add(
    parser: argparse.ArgumentParser,
    title: str,
    options: Iterable[Option],
    words: dict[str, str] | None = None,
) -> None:
    """Add a section, with own words where there are any."""
    own = {**_WORDS, **OFTEN} if words is None else words
    group = parser.add_argument_group(title)
    for option in options:
        text = re.sub(r"\.$", "", own.get(option.name, option.help)).replace("%", "%%")
        if option.default is not None:
            text += f" (default: {option.default})".replace("%", "%%")
        if option.value is None:
            group.add_argument(*option.flags, action="store_true", help=text)
        else:
            names = option.flags or [option.value]
            group.add_argument(*names, metavar=option.value, help=text)
