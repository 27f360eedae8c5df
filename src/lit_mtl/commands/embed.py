"""`embed`: sentence embeddings of a trained model, shown or saved."""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate
from torch import Tensor
from torch.nn import functional

from lit_mtl.artifact import load
from lit_mtl.artifact.length_batches import TOKENS
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.data.readers import decode, read_lines, split_lines
from lit_mtl.errors import ConfigError
from lit_mtl.files import write_atomically

_MOST_IN_TABLE = 12


def run(name: str, args: Sequence[str]) -> None:
    """Run the command.

    Args:
        name: the command.
        args: what stands behind it.
    """
    silence_upstream_notes()
    options = _parser(name).parse_args(args)
    texts = _texts(options.sentences, options.file)
    embeddings = load(options.ckpt_path).embed(texts, batch_tokens=options.batch_tokens)
    print(describe(embeddings, texts))
    if options.output is not None:
        save_array(embeddings, options.output)
        print(f"saved in {options.output}")


def describe(embeddings: Tensor, texts: Sequence[str]) -> str:
    """Shape, length of each vector, and the cosine of each pair of sentences."""
    lines = [f"shape: {tuple(embeddings.shape)}", ""]
    unit = functional.normalize(embeddings, dim=-1)
    cosine = unit @ unit.T
    shown = range(min(len(texts), _MOST_IN_TABLE))
    rows = [
        [number + 1, f"{embeddings[number].norm():.3f}"]
        + [f"{cosine[number, other]:.3f}" for other in shown]
        + [texts[number]]
        for number in shown
    ]
    lines.append(
        tabulate(
            rows,
            ["", "norm", *(f"cos {number + 1}" for number in shown), "sentence"],
            disable_numparse=True,
        )
    )
    if len(texts) > _MOST_IN_TABLE:
        lines.append(f"... and {len(texts) - _MOST_IN_TABLE} more; save them all with --output")
    return "\n".join(lines)


def save_array(embeddings: Tensor, path: Path) -> None:
    """Write a .npy file, complete or not at all."""
    if path.suffix != ".npy":
        raise ConfigError(f"Expected a name that ends in .npy for --output, but got {path}")
    buffer = io.BytesIO()
    np.save(buffer, embeddings.numpy())
    write_atomically(path, buffer.getvalue())


def _texts(sentences: Sequence[str], file: Path | None) -> list[str]:
    """Sentences from the command line, a file, or standard input; blank lines are passed over."""
    if sentences and file is not None:
        raise ConfigError("Expected either sentences or --file, but got both")
    if not all(sentence.strip() for sentence in sentences):
        raise ConfigError("Expected sentences as arguments, but one of them is blank")
    if sentences:
        return list(sentences)
    if file is not None:
        rows = read_lines(file)
    else:
        text = decode(sys.stdin.buffer.read(), "standard input")
        rows = split_lines(text, "standard input")
    texts = [row.text for row in rows if row.text]
    if not texts:
        raise ConfigError("Expected sentences as arguments, in --file or on standard input")
    return texts


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m lit_mtl {name}",
        description="Show shape, norms and cosines of sentence embeddings, or save them.",
    )
    parser.add_argument("sentences", nargs="*", help="sentences; without them, stdin is read")
    parser.add_argument(
        "--ckpt_path", type=Path, required=True, help="a checkpoint or an exported folder"
    )
    parser.add_argument("--file", type=Path, help="text file with one sentence a line")
    parser.add_argument("--output", type=Path, help="a .npy file to write, one row a sentence")
    parser.add_argument(
        "--batch_tokens", type=_positive, default=TOKENS, help="tokens run at once, about"
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return int(text)
