"""Puts what a model does on the validation split on TensorBoard's boards: figures, curves, tables."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from lit_mtl.callbacks import figures
from lit_mtl.callbacks.board_text import markdown_table
from lit_mtl.callbacks.split_rows import SplitRows, correlation_interval, evenly
from lit_mtl.data.corpus import Corpus

_SHOWN_ROWS = 20
"""Rows of a table."""

_MOST_LABELS = 20
"""Labels of a task that get a precision-recall curve, the first ones."""

_LENGTH_GROUPS = 5
_MOST_SOURCES = 8


class SplitBoard:
    """Where and how the rows of a split are shown.

    Args:
        writer: of TensorBoard.
        corpus: of the rows, for their texts, lengths and sources; None where they are not known.
        moment: begin of the tags: `val` in training, `best` after it.
        step: of the training.
        sample_rows: rows at most that are drawn one by one.
    """

    def __init__(
        self,
        writer: SummaryWriter,
        corpus: Corpus | None,
        *,
        moment: str,
        step: int,
        sample_rows: int,
    ) -> None:
        self.writer = writer
        self.corpus = corpus
        self.moment = moment
        self.step = step
        self.sample_rows = sample_rows

    def show(self, name: str, rows: SplitRows, *, calibrated: bool = False) -> None:
        """Show one task; nothing where it has no labelled row.

        Args:
            name: of the task.
            rows: its labelled rows.
            calibrated: whether the reliability after calibration is drawn as well.
        """
        if not len(rows):
            return
        self._figures(name, rows, calibrated=calibrated)
        self._precision_and_recall(name, rows)
        if self.corpus is not None:
            self._groups(name, rows, self.corpus)
            self._tables(name, rows, self.corpus)

    def _figures(self, name: str, rows: SplitRows, *, calibrated: bool) -> None:
        title = f"{name}: {len(rows):,} rows"
        confusion = rows.task.confusion(rows.output, rows.target)
        if confusion is not None:
            image = figures.confusion_matrix(confusion, rows.task.classes, title)
            self._image(f"{name}/confusion_matrix", image)
        curves = {"as trained": rows.reliability()}
        if calibrated:
            curves["calibrated, cross-fitted"] = rows.reliability(calibrated=True)
        curves = {label: points for label, points in curves.items() if points}
        if curves:
            self._image(f"{name}/reliability", figures.reliability_diagram(curves, title))
        scores = rows.scores()
        if scores is not None:
            shown = torch.tensor(evenly(len(rows), count=self.sample_rows or len(rows)))
            predicted, true = (part[shown].numpy() for part in scores)
            image = figures.predicted_against_true(
                predicted, true, correlation=correlation_interval(*scores), title=title
            )
            self._image(f"{name}/predicted_against_true", image)

    def _groups(self, name: str, rows: SplitRows, corpus: Corpus) -> None:
        errors, places = rows.errors().numpy(), rows.row_ids.numpy()
        signed = rows.scores() is not None
        label = "predicted - true" if signed else "share of wrong labels"
        parts = {"tokens of the sentence": by_length(errors, corpus.lengths("val")[places])}
        if len(corpus.sources) > 1:
            parts["source"] = by_name(errors, corpus.source_of("val")[places], corpus.sources)
        image = figures.errors_by_group(parts, signed=signed, label=label, title=f"{name}: errors")
        self._image(f"{name}/errors_by_group", image)

    def _precision_and_recall(self, name: str, rows: SplitRows) -> None:
        for number, (label, (chance, there)) in enumerate(rows.chances().items()):
            if number < _MOST_LABELS and there.any():
                tag = f"{self.moment}/{name}/{label}"
                self.writer.add_pr_curve(tag, there, chance, self.step)

    def _tables(self, name: str, rows: SplitRows, corpus: Corpus) -> None:
        losses = rows.losses()
        worst = losses.argsort(descending=True, stable=True)[:_SHOWN_ROWS]
        table = self._table(rows, corpus, worst, "loss", losses[worst])
        self.writer.add_text(f"{self.moment}/{name}/worst_errors", table, self.step)
        suspects, confidence = rows.suspects()
        suspects = suspects[:_SHOWN_ROWS]
        table = self._table(rows, corpus, suspects, "confidence", confidence)
        self.writer.add_text(f"{self.moment}/{name}/likely_label_errors", table, self.step)

    def _table(
        self, rows: SplitRows, corpus: Corpus, chosen: Tensor, what: str, numbers: Tensor
    ) -> str:
        found = corpus.splits["val"][rows.row_ids[chosen].tolist()]
        where = map(corpus.where, found["file"], found["number"])
        cells = [
            [place, text, *rows.shown(int(position)), f"{float(number):.3g}"]
            for place, text, position, number in zip(
                where, found["text"], chosen, numbers, strict=False
            )
        ]
        headers = ["row", "text", "target", "prediction", what]
        return markdown_table(headers, cells, empty="none")

    def _image(self, tag: str, image: NDArray[np.uint8]) -> None:
        self.writer.add_image(f"{self.moment}/{tag}", image, self.step, dataformats="HWC")


def by_length(errors: NDArray[Any], lengths: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Errors in groups of about equal size, by rising length; rows of one length stay together."""
    ends = np.unique(
        np.quantile(lengths, np.linspace(0, 1, _LENGTH_GROUPS + 1)[1:], method="lower")
    )
    groups: dict[str, NDArray[Any]] = {}
    least = int(lengths.min())
    for end in ends.astype(int).tolist():
        inside = (lengths >= least) & (lengths <= end)
        groups[f"{least}-{end}" if least < end else str(end)] = errors[inside]
        least = end + 1
    return groups


def by_name(errors: NDArray[Any], group: NDArray[Any], names: list[str]) -> dict[str, NDArray[Any]]:
    """Errors by the number of their group, under its name; of many the largest ones."""
    counts = np.bincount(group, minlength=len(names))
    largest = np.argsort(-counts, kind="stable")[:_MOST_SOURCES]
    return {names[place]: errors[group == place] for place in sorted(largest) if counts[place]}
