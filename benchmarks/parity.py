"""One model, four ways to run it: checkpoint, exported folder, sentence-transformers, ONNX Runtime.

    python benchmarks/parity.py [--ckpt_path …/best.ckpt] [--rows 1000]

Each line shows the largest absolute difference to the checkpoint, in float32, over sentences that are
spread evenly over all lengths in the data.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from tabulate import tabulate
from torch import Tensor

from lit_mtl import TrainedModel, load, load_checkpoint
from lit_mtl.artifact.export import export
from lit_mtl.artifact.onnx_graph import EMBEDDING, GRAPH, open_session, run_texts
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.tokenization import tokenize

CHECKPOINT = Path("lightning_logs/quickstart/version_0/checkpoints/best.ckpt")


def sentences(files: list[Path], rows: int) -> list[str]:
    """That many sentences of text files, from the shortest to the longest in even steps."""
    lines = {line.strip() for file in files for line in file.read_text("utf-8").split("\n")}
    by_length = sorted(lines - {""}, key=lambda line: (len(line), line))
    step = max(1.0, len(by_length) / rows)
    return [by_length[int(place * step)] for place in range(min(rows, len(by_length)))]


def outputs(model: TrainedModel, texts: list[str], **options: int) -> dict[str, Tensor]:
    """Embeddings and decoded outputs by the names that the ONNX graph has for them."""
    output = model.run(texts, **options)
    found = {EMBEDDING: output.sentence_embedding}
    for name, task in model.network.tasks.items():
        prediction = task.predict(output.heads[name])
        found[f"{name}_prediction"] = prediction
        interval = task.interval(prediction)
        if interval is not None:
            found[f"{name}_interval"] = interval
    return found


def ways(folder: Path, texts: list[str]) -> dict[str, Callable[[], dict[str, Tensor]]]:
    """How else the same model can be run."""
    model, stock = load(folder), SentenceTransformer(str(folder), device="cpu")

    def encoded(batch_size: int) -> dict[str, Tensor]:
        vectors = stock.encode(texts, batch_size=batch_size, convert_to_tensor=True)
        assert isinstance(vectors, Tensor)
        return {EMBEDDING: vectors}

    def backwards() -> dict[str, Tensor]:
        return {name: value.flip(0) for name, value in outputs(model, texts[::-1]).items()}

    return {
        "lit_mtl.load": lambda: outputs(model, texts),
        "lit_mtl.load, one at a time": lambda: outputs(model, texts, batch_tokens=1),
        "lit_mtl.load, large batches": lambda: outputs(model, texts, batch_tokens=20_000),
        "lit_mtl.load, in reverse order": backwards,
        "SentenceTransformer, batches of 32": lambda: encoded(32),
        "SentenceTransformer, batches of 7": lambda: encoded(7),
        "ONNX Runtime": lambda: run_texts(model, open_session(folder / GRAPH), texts),
    }


def main() -> None:
    """Compare and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ckpt_path", type=Path, default=CHECKPOINT)
    parser.add_argument("--data", type=Path, default=Path("data/movies"))
    parser.add_argument("--rows", type=int, default=1000)
    options = parser.parse_args()
    silence_upstream_notes()
    texts = sentences(sorted(options.data.glob("*.txt")), options.rows)
    model = load_checkpoint(options.ckpt_path)
    lengths = [len(ids) for ids in tokenize(model.tokenizer, texts)[0]]
    expected = outputs(model, texts)
    print(f"{len(texts)} sentences of {options.data}, {min(lengths)} to {max(lengths)} tokens")
    spread = float(expected[EMBEDDING].abs().max())
    print(f"largest number in an embedding: {spread:.2f}\n")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        export(options.ckpt_path, Path(folder) / "model", onnx=True)
        for way, run in ways(Path(folder) / "model", texts).items():
            found = run()
            rows.append(
                [way]
                + [
                    f"{(found[name] - value).abs().max():.1e}" if name in found else ""
                    for name, value in expected.items()
                ]
            )
    print(tabulate(rows, ["", *expected], disable_numparse=True))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
