"""`compare`: does sharing help? All tasks together, each alone, and the encoder frozen."""

import argparse
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from itertools import product
from pathlib import Path

import yaml
from lightning.pytorch.utilities import rank_zero_info

from lit_mtl.callbacks.console import duration
from lit_mtl.command_table import PROG
from lit_mtl.commands.compare_report import report
from lit_mtl.commands.compare_runs import Run, finish_all, of_task, planned, time_left
from lit_mtl.commands.lightning_cli import LitMTLCLI
from lit_mtl.commands.train import configured, read_data
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.data.sources import Feed, find_sources
from lit_mtl.data.splits import SPLITS
from lit_mtl.errors import ConfigError
from lit_mtl.files import locked
from lit_mtl.paired import compare
from lit_mtl.verbosity import Verbosity, verbosity

_ROOT = Path("lightning_logs", "compare")


def run(name: str, args: Sequence[str]) -> None:
    """Run the command.

    Args:
        name: the command.
        args: what stands behind it.
    """
    options, rest = parser(name).parse_known_args(args)
    seeds = list(dict.fromkeys(options.seeds))
    cli = configured(name, rest)
    if cli.datamodule.stratify is not None:
        # one task alone would be split in another way than all together
        rank_zero_info("`data.stratify` is left out: all runs have the same split by hash")
        cli.datamodule.stratify = cli.config.data.stratify = None
    read_data(cli)
    corpus = cli.datamodule.corpus
    assert corpus is not None
    tasks = _compared_tasks(cli, folds=options.folds)
    feeds = find_sources(cli.datamodule.sources, cli.datamodule.declared_tasks).feeds
    _refuse_splits(cli, feeds, folds=options.folds)
    _refuse_unlabelled(cli.datamodule, tasks, folds=options.folds)
    output = _ROOT / _config_name(cli) if options.output is None else options.output.expanduser()
    runs = planned(
        yaml.safe_load(cli.parser.dump(cli.config, skip_unset=False)),
        tasks=tasks,
        feeds=feeds,
        seeds=seeds,
        folds=options.folds,
        data=corpus.fingerprint,
        output=output,
    )
    with locked(output):
        _finish(runs, jobs=options.jobs)
        found = {task: compare(of_task(runs, task)) for task in tasks}
        report(found, seeds=seeds, folds=options.folds, runs=runs, folder=output)


def parser(name: str) -> argparse.ArgumentParser:
    """What the command accepts, beside what `fit` does.

    Args:
        name: the command.
    """
    parser = argparse.ArgumentParser(prog=f"{PROG} {name}", add_help=False, allow_abbrev=False)
    parser.add_argument(
        "--seeds",
        type=_seed,
        nargs="+",
        default=[0, 1, 2],
        metavar="SEED",
        help="one run of each kind a seed; 0 1 2 if not given",
    )
    parser.add_argument(
        "--folds",
        type=_number,
        default=1,
        metavar="N",
        help="so many parts of the sentences are the test split in turn; 1: the config's own split",
    )
    parser.add_argument(
        "--jobs",
        type=_number,
        default=1,
        metavar="N",
        help="so many runs train at a time, on the same devices; 1 if not given",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where runs and results go, and are found again; lightning_logs/compare/<config> if not "
        "given",
    )
    return parser


def _seed(word: str) -> int:
    seed = int(word)
    if not 0 <= seed < 2**32:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 2**32 - 1, found {word}")
    return seed


def _number(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, found {word}")
    return number


def _config_name(cli: LitMTLCLI) -> str:
    """The names of the config files."""
    return "-".join(Path(str(path)).stem for path in cli.config.config or ()) or "no_config"


def _compared_tasks(cli: LitMTLCLI, *, folds: int) -> list[str]:
    """The tasks that train.

    Raises:
        ConfigError: if there is nothing to compare or to measure by.
    """
    data = cli.datamodule
    tasks = [name for name, task in data.tasks.items() if task.weight]
    if len(tasks) < 2:
        raise ConfigError(
            "Expected at least two tasks with data and a `weight` above 0, since sharing is between "
            f"tasks; found {', '.join(tasks) or 'none'}"
        )
    if cli.config.ckpt_path is not None:
        raise ConfigError("`ckpt_path` cannot be given: every run begins with the backbone")
    if not (data.has_test or folds > 1):
        raise ConfigError(
            "There is no test split to compare on: set `data.test_fraction`, or name one with "
            "`data.sources`"
        )
    return tasks


def _refuse_splits(cli: LitMTLCLI, feeds: Sequence[Feed], *, folds: int) -> None:
    """A test split that the files name cannot rotate."""
    named = [
        feed
        for feed in feeds
        if feed.split_column is not None or feed.split_list is not None or feed.split == "test"
    ]
    if folds > 1 and named:
        raise ConfigError(
            f"`--folds` needs a split by hash, but the source {named[0].source!r} says itself which "
            "sentences are the test split. Leave the option out"
        )


def _refuse_unlabelled(data: SentimentDataModule, tasks: Sequence[str], *, folds: int) -> None:
    """Each split has to have a target for each task, which alone is trained on such sentences only.

    The data of each fold are prepared for this, in which the runs then find them.

    Raises:
        ConfigError: naming task, split and fold.
    """
    for fold in range(folds):
        corpus, where = data.corpus, ""
        if folds > 1:
            own = copy(data)
            own.splitter, own.corpus = replace(data.splitter, folds=folds, fold=fold), None
            own.prepare_data()
            own.setup("fit")
            corpus, where = own.corpus, f" of fold {fold} of {folds}, counted from 0,"
        assert corpus is not None
        for name, split in product(tasks, SPLITS):
            if not corpus.labelled(split, name):
                raise ConfigError(
                    f"The {split} split{where} has no sentence with a target for the task {name!r}: "
                    f"{'take fewer folds' if folds > 1 else 'change the fractions in `data`'}, give "
                    "more sentences, or give the task's weight as 0"
                )


def _finish(runs: Sequence[Run], *, jobs: int) -> None:
    """Train what is not finished yet, and say which run begins."""
    loud = verbosity() is not Verbosity.QUIET
    if loud and (found := sum(run.is_finished for run in runs)):
        print(f"{found} of {len(runs)} runs are finished already", flush=True)

    def begun(run: Run) -> None:
        if loud and not run.is_finished:
            left = time_left(runs)
            rest = "" if left is None else f"; about {duration(left / jobs)} left"
            print(f"run {runs.index(run) + 1} of {len(runs)}: {run.folder.name}{rest}", flush=True)

    finish_all(runs, jobs=jobs, begun=begun)
