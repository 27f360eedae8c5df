"""Sentences as points for TensorBoard's projector, before and after training.

Shapes: N sampled rows, D embedding dimension.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from lit_mtl.data.corpus import target_column
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.embedding_health import kept_similarity, mean_cosine, neighbour_purity
from lit_mtl.errors import printable
from lit_mtl.evaluation import gathered_rows
from lit_mtl.files import write_atomically
from lit_mtl.module import MultiTaskModule
from lit_mtl.tasks import Classification
from lit_mtl.tasks.base import Task
from lit_mtl.tasks.scores import ScoreTask

FOLDER = "projector"

MOMENTS = ("before", "after")
"""The training between which the points are shown."""

_FEWEST = 3
_BATCH = 64
_CLIP = 200


def seen_rows(trainer: Trainer, data: SentimentDataModule) -> list[int]:
    """The rows of the validation split that the processes will see; of similar length together."""
    rows: dict[int, None] = {}
    limit = trainer.limit_val_batches
    for rank in range(trainer.world_size):
        sampler = data.val_sampler(rank=rank)
        batches = limit if isinstance(limit, int) else int(len(sampler) * limit)
        rows |= dict.fromkeys(chain.from_iterable(islice(sampler, batches)))
    return list(rows)


@dataclass(kw_only=True)
class Sample:
    """Embeddings of the chosen rows of the validation split, as they pass by.

    Args:
        chosen: the row numbers, (N,).
        vectors: row number to its embedding, (D,).
        base: the same before the training; empty where that is not known.
    """

    chosen: Tensor
    vectors: dict[int, Tensor] = field(default_factory=dict)
    base: dict[int, Tensor] = field(default_factory=dict)

    def update(self, row_id: Tensor, embedding: Tensor) -> None:
        """Keep what is chosen of a batch."""
        row_id = row_id.cpu()
        places = torch.isin(row_id, self.chosen).nonzero()[:, 0]
        if len(places):
            kept = embedding[places.to(embedding.device)].detach().float().cpu()
            self.vectors |= dict(zip(row_id[places].tolist(), kept, strict=True))

    def gather(self, size: int, device: torch.device) -> None:
        """Have on each process what all of them have kept; a collective call.

        Args:
            size: of an embedding, D.
            device: where tensors have to be for the call.
        """
        rows = torch.tensor(list(self.vectors), dtype=torch.int64)
        own = [vector.unsqueeze(0) for vector in self.vectors.values()]
        vectors = gathered_rows(own, torch.empty(0, size), device)
        rows = gathered_rows([rows], rows[:0], device)
        self.vectors = dict(zip(rows.tolist(), vectors, strict=True))

    def embed(self, trainer: Trainer, module: MultiTaskModule, data: SentimentDataModule) -> None:
        """Run the encoder on the chosen rows: without dropout, gradients or random numbers."""
        modes = {part: part.training for part in module.modules()}
        module.eval()
        try:
            with torch.no_grad(), trainer.precision_plugin.forward_context():
                chosen = set(self.chosen.tolist())
                # so that little is padding
                passing = [row for row in seen_rows(trainer, data) if row in chosen]
                for rows in torch.tensor(passing).split(_BATCH):
                    batch = data.batch_of("val", rows.tolist())
                    ids, mask = batch["input_ids"], batch["attention_mask"]
                    vectors = module(ids.to(module.device), mask.to(module.device))
                    self.update(batch["row_id"], vectors)
        finally:
            for part, training in modes.items():
                part.training = training

    def health(self, data: SentimentDataModule) -> dict[str, float]:
        """What the labels have made of the embedding, by name; of three rows at least.

        See `embedding_health`. Purity is that of the tasks with one label a row.
        """
        rows = sorted(self.vectors)
        if len(rows) < _FEWEST:
            return {}
        vectors = torch.stack([self.vectors[row] for row in rows])
        found = {"mean_cosine": mean_cosine(vectors)}
        if self.base.keys() >= set(rows):
            base = torch.stack([self.base[row] for row in rows])
            found["kept_similarity"] = kept_similarity(vectors, base)
        assert data.corpus is not None, "the datamodule is set up"
        sentences = data.corpus.splits["val"][rows]
        for name, task in data.tasks.items():
            targets = sentences.get(target_column(name), [])
            known = [place for place, target in enumerate(targets) if target is not None]
            if isinstance(task, Classification) and len(known) > 1:
                labels = torch.tensor([targets[place] for place in known])
                purity = neighbour_purity(vectors[known], labels)
                found[f"neighbour_purity/{name}"] = purity.found
                found[f"neighbour_purity/{name}_by_chance"] = purity.chance
        return found

    def write(
        self, folder: Path, moment: str, module: MultiTaskModule, data: SentimentDataModule
    ) -> None:
        """Write the points with what is known of them, and name them to the projector."""
        rows = sorted(self.vectors)
        vectors = torch.stack([self.vectors[row] for row in rows])
        own = folder / FOLDER
        _write_table(own / f"{moment}.tsv", ([f"{x:.5g}" for x in row] for row in vectors.tolist()))
        known = (map(_cell, cells) for cells in _rows(rows, vectors, module, data))
        _write_table(own / f"{moment}_rows.tsv", known)
        there = [name for name in MOMENTS if (own / f"{name}.tsv").is_file()]
        config = "".join(
            f'embeddings {{\n  tensor_name: "sentences_{name}_training"\n'
            f'  tensor_path: "{FOLDER}/{name}.tsv"\n'
            f'  metadata_path: "{FOLDER}/{name}_rows.tsv"\n}}\n'
            for name in reversed(there)
        )
        write_atomically(folder / "projector_config.pbtxt", config.encode())


def _rows(
    rows: Sequence[int], vectors: Tensor, module: MultiTaskModule, data: SentimentDataModule
) -> Iterable[list[str]]:
    """A header, and of each point its text, its place in the files, its targets and predictions."""
    corpus, network = data.corpus, module.network
    assert corpus is not None, "the datamodule is set up"
    sentences = corpus.splits["val"][list(rows)]
    columns = {"text": sentences["text"]}
    columns["row"] = list(map(corpus.where, sentences["file"], sentences["number"]))
    for name, task in module.tasks.items():
        targets = sentences.get(target_column(name), [None] * len(rows))
        columns[name] = ["" if target is None else _target(task, target) for target in targets]
        _, linear = network.heads[name].children()  # a dropout comes before it
        with torch.no_grad():
            output = linear(vectors.to(next(linear.parameters()))).float().cpu()
        columns[f"{name} predicted"] = [_prediction(task, row) for row in task.predict(output)]
    yield list(columns)
    yield from (list(cells) for cells in zip(*columns.values(), strict=True))


def _target(task: Task, target: Any) -> str:
    """One label or number, so that the projector can colour the points by it."""
    if isinstance(task, ScoreTask):
        return f"{float(task.true_score(torch.tensor([target]))):.4g}"
    return task.describe(tuple(target) if isinstance(target, list) else target)


def _prediction(task: Task, prediction: Tensor) -> str:
    found = task.decode(prediction)
    if "labels" in found:
        return "|".join(found["labels"])
    return str(found["label"]) if "label" in found else f"{found['score']:.4g}"


def _write_table(path: Path, rows: Iterable[Iterable[str]]) -> None:
    text = "".join("\t".join(row) + "\n" for row in rows)
    write_atomically(path, text.encode("utf-8", "replace"))


def _cell(text: str) -> str:
    return printable(" ".join(text.split()))[:_CLIP]
