"""`predict` and `embed`: what a checkpoint or an exported folder says of sentences."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lit_mtl.artifact import load
from lit_mtl.artifact.inference import Inference, Kind, find
from lit_mtl.artifact.length_batches import TOKENS
from lit_mtl.commands.embed import describe
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.data.inputs import Input
from lit_mtl.errors import ConfigError, printable
from lit_mtl.files import remove_partial
from lit_mtl.verbosity import Verbosity, verbosity

_TRAINER = "--trainer."

_KINDS: dict[str, Kind] = {"predict": "predictions", "embed": "embedding"}

_WITHOUT_OUTPUT = {"predict": "JSON lines on stdout", "embed": "shape, norms and cosines"}


def run(name: str, args: Sequence[str]) -> None:
    """Run one of both commands.

    Args:
        name: `predict` or `embed`.
        args: what stands behind it.
    """
    silence_upstream_notes()
    own, trainer_flags = split_flags(args)
    options = parser(name).parse_args(own)
    source = _source(options)
    if options.output is None:
        if trainer_flags:
            raise ConfigError("Trainer flags write a file: name it with --output")
        _show(options, source, _KINDS[name])
        return
    if trainer_flags and source.path is None:
        raise ConfigError("Trainer flags need sentences in a file: name it with --input")
    inference = Inference(
        model=load(options.ckpt_path),
        kind=_KINDS[name],
        source=source,
        output=options.output,
        batch_tokens=options.batch_tokens,
    )
    inference.check()
    if trainer_flags:
        # Lightning takes seconds to import, so only who asks for it waits for it
        from lit_mtl.commands.infer_processes import run_processes

        sys.argv[1:] = [name, *args]  # read from there by the processes that DDP starts
        run_processes(inference, trainer_flags)
        return
    remove_partial(options.output.parent, options.output.name)
    rows = inference.write(progress=_counter)
    if _counts():
        print(file=sys.stderr)
    if verbosity() is not Verbosity.QUIET:
        print(f"{rows} rows are in {options.output}")


def split_flags(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own words, and the Trainer's flags with their values."""
    own, flags = [], []
    words = iter(args)
    for word in words:
        if not word.startswith(_TRAINER):
            own.append(word)
        elif "=" in word:
            flags.append(word)
        else:
            flags.append(f"{word}={next(words, '')}")
    return own, flags


def _source(options: argparse.Namespace) -> Input:
    if options.sentences and options.input is not None:
        raise ConfigError("Expected either sentences or --input, but got both")
    if not all(sentence.strip() for sentence in options.sentences):
        raise ConfigError("Expected sentences as arguments, but one of them is blank")
    try:
        "".join(options.sentences).encode()
    except UnicodeEncodeError as error:
        raise ConfigError("Expected sentences in UTF-8 as arguments; found other bytes") from error
    if options.input is not None:
        return Input(path=options.input, text_column=options.text_column)
    if options.sentences:
        return Input(texts=options.sentences)
    if sys.stdin is None:
        raise ConfigError("Expected sentences as arguments or in --input: standard input is closed")
    return Input(stream=sys.stdin.buffer)


def _show(options: argparse.Namespace, source: Input, kind: Kind) -> None:
    """Predictions as JSON lines, or a table of embeddings."""
    model = None
    texts: list[str] = []
    for window in source.windows():
        model = model or load(options.ckpt_path)
        if kind == "embedding":
            texts += [text for text in window.texts if text]
            continue
        predictions = find(model, kind, window.texts, batch_tokens=options.batch_tokens)
        for text, found in zip(window.texts, predictions, strict=True):
            print(json.dumps({"text": text, "predictions": found}, ensure_ascii=False), flush=True)
    if model is None:
        raise ConfigError("Expected sentences as arguments, in --input or on standard input")
    if kind == "embedding":
        embeddings = model.embed(texts, batch_tokens=options.batch_tokens)
        print(printable(describe(embeddings, texts)))


def _counts() -> bool:
    return sys.stderr.isatty() and verbosity() is not Verbosity.QUIET


def _counter(rows: int) -> None:
    if _counts():
        print(f"\r{rows:,} rows", end="", file=sys.stderr)


def parser(name: str) -> argparse.ArgumentParser:
    """What one of both commands accepts.

    Args:
        name: `predict` or `embed`.
    """
    parser = argparse.ArgumentParser(prog=f"python -m lit_mtl {name}", allow_abbrev=False)
    parser.add_argument("sentences", nargs="*", help="sentences; without them, stdin is read")
    parser.add_argument(
        "--ckpt_path", type=Path, required=True, help="an exported folder or a checkpoint"
    )
    parser.add_argument("--input", type=Path, help="a .txt file, one sentence a line, or a table")
    parser.add_argument("--text_column", help="the table's column of sentences; text or sentence")
    formats = ".jsonl, .csv, .parquet" + (" or .npy" if name == "embed" else "")
    parser.add_argument(
        "--output",
        type=Path,
        help=f"the file to write: {formats}; without it, {_WITHOUT_OUTPUT[name]}",
    )
    parser.add_argument(
        "--batch_tokens", type=_positive, default=TOKENS, help="tokens run at once, about"
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return int(text)
