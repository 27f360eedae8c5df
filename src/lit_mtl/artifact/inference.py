"""Embeddings or predictions of a stream of rows, in order, in bounded memory, by several processes.

Each process reads all rows and runs every n-th window of them. With several, each keeps what it finds
in a part beside the output, and the first one joins the parts in the order of the windows.

Shapes: D embedding dimension.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa

from lit_mtl.artifact.bundle import TrainedModel
from lit_mtl.artifact.length_batches import TOKENS
from lit_mtl.data.inputs import Input, Window
from lit_mtl.data.outputs import flattened, row_writer, writer_of
from lit_mtl.errors import ConfigError
from lit_mtl.files import PARTIAL

Kind = Literal["predictions", "embedding"]
"""What is found of a sentence, and the key under which it stands in a row."""

Found = list[Any]
"""For each row of a window an embedding (D,) as a list, or predictions; None for a blank sentence."""


def find(model: TrainedModel, kind: Kind, texts: Sequence[str], *, batch_tokens: int) -> Found:
    """What is found of texts, of which some may be blank.

    Args:
        model: embeds or predicts.
        kind: which of both.
        texts: the sentences.
        batch_tokens: tokens that are run at once, about.
    """
    places = [place for place, text in enumerate(texts) if text]
    sentences = [texts[place] for place in places]
    found: Found = [None] * len(texts)
    if kind == "embedding":
        values: list[Any] = model.embed(sentences, batch_tokens=batch_tokens).tolist()
    else:
        values = model.predict(sentences, batch_tokens=batch_tokens)
    for place, value in zip(places, values, strict=True):
        found[place] = value
    return found


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What is to be found of which rows, and where it goes.

    Args:
        model: embeds or predicts.
        kind: which of both.
        source: the rows.
        output: the file; its ending says how it is written.
        batch_tokens: tokens that are run at once, about.
    """

    model: TrainedModel
    kind: Kind
    source: Input
    output: Path
    batch_tokens: int = TOKENS

    def check(self) -> None:
        """Refuse what cannot be, before anything is run.

        Raises:
            ConfigError: if the output is the input, cannot hold what is found, or has one name twice.
            DataError: if the input has no sentences' column.
        """
        path = self.source.path
        if path is not None and self.output.resolve() == path.resolve():
            raise ConfigError(f"{self.output}: the output would overwrite the input")
        writer = writer_of(self.output, vectors=self.kind == "embedding")
        held = {} if writer.holds_arrow else self.source.arrow_only()
        if held:
            column, kind = next(iter(held.items()))
            raise ConfigError(
                f"{self.output}: the column {column!r} of {path} holds {kind}, which only .parquet can "
                "hold. Write that, or leave the column out of the input"
            )
        own = {self.kind, *flattened({self.kind: self._example()})}
        if taken := sorted(own & set(self.source.columns())):
            raise ConfigError(
                f"{path}: its column {taken[0]!r} has the name of one that would be added"
            )

    def run_window(self, window: Window) -> Found:
        """What is found of the rows of a window."""
        return find(self.model, self.kind, window.texts, batch_tokens=self.batch_tokens)

    def write(
        self,
        found_of: Callable[[Window], Found] | None = None,
        progress: Callable[[int], None] = lambda rows: None,
    ) -> int:
        """Write the output, complete or not at all.

        Args:
            found_of: gives what was found of a window. None: finds it here and now.
            progress: is told the number of rows after each window.

        Returns:
            The number of rows.
        """
        finding = found_of or self.run_window
        columns, rows = self.source.columns(), 0
        arrow = {name: pa.scalar(None, kind) for name, kind in self.source.arrow_only().items()}
        example = {**dict.fromkeys(columns, ""), **arrow, self.kind: self._example()}
        with row_writer(self.output, example) as writer:
            for window in self.source.windows():
                writer.write(
                    [
                        {**dict(zip(columns, cells, strict=True)), self.kind: value}
                        for cells, value in zip(window.cells, finding(window), strict=True)
                    ]
                )
                rows += len(window.texts)
                progress(rows)
        return rows

    def part(self, rank: int) -> Path:
        """The file of what one of several processes finds."""
        return self.output.parent / f"{PARTIAL}{self.output.name}-part-{rank}"

    def write_part(self, window: Window, file: IO[bytes]) -> None:
        """Append what is found of a window to a part, a line a window."""
        file.write(json.dumps(self.run_window(window)).encode() + b"\n")

    def join(self, world_size: int) -> int:
        """Write the output from the parts of all processes, and remove them.

        Returns:
            The number of rows.
        """
        files = [self.part(rank).open("rb") for rank in range(world_size)]
        try:
            return self.write(lambda window: _line(files[window.number % world_size]))
        finally:
            for rank, file in enumerate(files):
                file.close()
                self.part(rank).unlink(missing_ok=True)

    def windows_of(self, rank: int, world_size: int) -> Iterator[Window]:
        """The windows of one process."""
        return (each for each in self.source.windows() if each.number % world_size == rank)

    def _example(self) -> Mapping[str, Any] | list[float]:
        one = ["example"]
        return (
            self.model.embed(one)[0].tolist()
            if self.kind == "embedding"
            else self.model.predict(one)[0]
        )


def _line(file: IO[bytes]) -> Found:
    found: Found = json.loads(file.readline())
    return found
