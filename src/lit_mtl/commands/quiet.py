"""Keeps what the libraries say about themselves from users; what concerns their run is shown."""

import logging
import re
import warnings
from dataclasses import fields

from transformers.utils import logging as transformers_logging

from lit_mtl.errors import printable
from lit_mtl.tasks import KINDS
from lit_mtl.verbosity import Verbosity, verbosity

_NOTES = (
    # advertisements for other products of Lightning's makers
    "Tip: For seamless cloud",
    # hardware that nobody asked for
    "TPU available: False",
    "GPU available: False",
    # inner workings
    "Loading `train_dataloader` to estimate number of stepping batches",
    "Restoring states from the checkpoint path at",
    "Using bfloat16 Automatic Mixed Precision",
    "CUDA_VISIBLE_DEVICES: [",
    # for products in float32, of which few are left in bfloat16; and no option of this project
    "that has Tensor Cores",
    "Loaded model weights from the checkpoint at",
    # what the first lines and the last one of a training say
    "Seed set to",
    "Initializing distributed",
    "`Trainer.fit` stopped: `max_",
)
"""Log messages that contain one of these are dropped; all are, for `--quiet`."""

_NOTE_LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
    "lightning.fabric.utilities.distributed",
    "lightning.pytorch.accelerators.cuda",
)
"""The loggers behind Lightning's `rank_zero_info`, and those that tell seed, processes and devices."""

_WARNINGS = (
    # lightning 2.6.6 uses a name that torch 2.13 renames: utilities/_pytree.py
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    # loading in the training process is this project's default; `data.num_workers` changes it
    r"The '\w+' does not have many workers",
    # this project's sampler pads no rows in, and its metrics count each row once
    r"Using `DistributedSampler` with the dataloaders",
    # the datamodule's state says where the sampler goes on; Lightning looks at the loader only
    r"You're resuming from a checkpoint that ended before the epoch ended",
    # the number of steps an epoch is known and may be below `log_every_n_steps`
    r"The number of training batches \(\d+\) is smaller than the logging interval",
)
"""Warnings whose message begins with one of these are dropped."""

_ATTEMPT = re.compile(r"^ {4}- .*\n(?: {6,}.*\n?)*", re.MULTILINE)
"""What jsonargparse says of one of the kinds that it has tried for a task."""

_OTHER_KIND = re.compile(
    r"does not correspond to a subclass of|Parser key \"kind\":\s+Expected a typing.Literal"
)
"""It is not of that kind."""

_SUBTYPES = re.compile(r"^ *Does not validate against.*\n *Subtypes: .*\n *Errors:\n", re.MULTILINE)

_NO_FIELD = re.compile(r"Problem with given class_path 'lit_mtl\.(\w+)':\s+Option '(.+)' is not .*")


class _NoteFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        said, message = verbosity(), record.getMessage()
        if said is Verbosity.VERBOSE or record.levelno >= logging.WARNING:
            return True
        return said is Verbosity.NORMAL and not any(note in message for note in _NOTES)


def silence_upstream_notes() -> None:
    """Drop advertisements and notes that a user of this project cannot act on.

    `--verbose` shows everything, deprecations of the libraries included.
    """
    if verbosity() is Verbosity.VERBOSE:
        warnings.simplefilter("default")
        return
    # a user can do nothing with the line of a library that has noticed it
    warnings.formatwarning = lambda message, *_, **__: f"warning: {printable(str(message))}\n"
    for name in _NOTE_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, _NoteFilter) for known in logger.filters):
            logger.addFilter(_NoteFilter())
    for pattern in _WARNINGS:
        warnings.filterwarnings("ignore", message=pattern)
    # the load report repeats that a pooler is left out; missing weights raise here, see pretrained
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def without_other_kinds(message: str) -> str:
    """Jsonargparse's refusal of a task, without what it says of the kinds that were not meant."""
    attempts = _ATTEMPT.findall(message)
    others = [attempt for attempt in attempts if _OTHER_KIND.search(attempt)]
    if 'Parser key "tasks' not in message or not others:
        return message
    for attempt in others:
        message = message.replace(attempt, "")
    if len(others) == len(attempts):
        message += f"\nExpected a task's `kind` to be one of {', '.join(KINDS)}"
    return _NO_FIELD.sub(_fields, _SUBTYPES.sub("", message, count=1))


def _fields(found: re.Match[str]) -> str:
    kind = next(kind for kind in KINDS.values() if kind.__name__ == found[1])
    known = ", ".join(field.name for field in fields(kind))
    return f"A {kind.kind} task has no field {found[2]!r}. Its fields: {known}"
