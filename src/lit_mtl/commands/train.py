"""`fit`, `validate`, `test`, `groups`, `plan` and `check-data`, through the LightningCLI."""

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lightning.fabric.utilities.exceptions import MisconfigurationException

from lit_mtl.callbacks.console import data_table, group_table
from lit_mtl.command_table import PROG
from lit_mtl.commands.check_data import as_text, check_data
from lit_mtl.commands.lightning_cli import LitMTLCLI, lightning_cli
from lit_mtl.commands.plan import gradual_plan, rate_table, refuse_as_fit, stage_table
from lit_mtl.commands.process_group import closing_process_group
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.errors import ConfigError, printable
from lit_mtl.optim.freezing_plan import Stage


def run(name: str, args: Sequence[str]) -> None:
    """Run one of the Trainer's commands, `check-data`, `groups` or `plan`.

    Args:
        name: the command.
        args: what stands behind it.
    """
    silence_upstream_notes()
    with refusals():
        if name == "groups":
            cli = _described(name, args)
            print(f"{data_table(cli.datamodule)}\n\n{group_table(cli.model.param_groups())}")
        elif name == "plan":
            _plan(name, args)
        elif name == "check-data":
            _check_data(name, args)
        else:
            with closing_process_group():
                lightning_cli(name, [name, *args], run=True)


def configured(name: str, args: Sequence[str]) -> LitMTLCLI:
    """Everything that a fit would have before it reads the data.

    Args:
        name: the command that asks.
        args: what stands behind it.
    """
    silence_upstream_notes()
    with refusals():
        return lightning_cli(name, args, run=False)


@contextmanager
def refusals() -> Iterator[None]:
    """What Lightning refuses is a setting that is wrong."""
    try:
        yield
    except MisconfigurationException as error:
        raise ConfigError(str(error)) from error


def _plan(name: str, args: Sequence[str]) -> None:
    """Show the stages of a config, or write a plan to begin with."""
    own = ArgumentParser(f"{PROG} {name}", add_help=False, allow_abbrev=False)
    own.add_argument("--generate", choices=["gradual"])
    found, rest = own.parse_known_args(args)
    cli = _described(name, rest)
    if found.generate:
        print(gradual_plan(cli.model.network, epochs=cli.trainer.max_epochs or 1))
        return
    stages = cli.config_init["freezing"].stages or [Stage(name="all")]
    refuse_as_fit(stages, module=cli.model, data=cli.datamodule, trainer=cli.trainer)
    print(stage_table(stages, cli.model.network), end="\n\n")
    print(rate_table(stages, cli.model.network, cli.model.rates))


def _check_data(name: str, args: Sequence[str]) -> None:
    """Report on the data; contradictions are shown before they are refused, as a fit would."""
    as_json = "--json" in args
    cli = lightning_cli(name, [word for word in args if word != "--json"], run=False)
    refuses = cli.datamodule.contradictions == "error"
    if refuses:
        cli.datamodule.contradictions = "drop"
    read_data(cli)
    found = check_data(cli.datamodule)
    print(json.dumps(found, indent=2, ensure_ascii=False) if as_json else printable(as_text(found)))
    corpus = cli.datamodule.corpus
    for reading in corpus.readings.values() if refuses and corpus else ():
        for contradiction in reading.contradictions:
            raise contradiction.error()


def _described(name: str, args: Sequence[str]) -> LitMTLCLI:
    """Everything that a fit would have before its first step."""
    cli = lightning_cli(name, args, run=False)
    read_data(cli)
    cli.model.build(cli.datamodule.tasks)
    return cli


def read_data(cli: LitMTLCLI) -> None:
    """Read and prepare the data as a fit would."""
    cli.datamodule.prepare_data()
    cli.datamodule.tokenizer = cli.model.tokenizer  # no Trainer brings them together
    cli.datamodule.setup("fit")
