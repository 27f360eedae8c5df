"""What `projection_init` and `head_init` begin with: measured on the validation split before any training.

    python benchmarks/initial_layers.py [--backbone minilm]    # some minutes

The encoder runs once on the training and the validation sentences. On its pooled vectors stand the random
projection and that of the principal directions of the training sentences, and on these the heads that are
fitted to the labelled training rows. `squared length kept` is the mean over validation sentences whose pooled
vectors are scaled to length 1, `kept_similarity` the rank correlation of the cosines of all their pairs with
those of the pooled vectors.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor
from torch.nn.functional import linear, normalize

from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.data.corpus import Corpus, labelled_rows, targets_of
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.data.splits import Split
from lit_mtl.embedding_health import kept_similarity
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.module import MultiTaskModule
from lit_mtl.optim.linear_fit import fit_linear
from lit_mtl.optim.linear_maps import principal_directions

ROOT = Path(__file__).parents[1]

L2 = 0.3
"""The default of `head_init.l2`."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--data", default=str(ROOT / "data" / "movies"))
    parser.add_argument("--rows", type=int, nargs="+", default=[300, 2000])
    options = parser.parse_args()
    silence_upstream_notes()
    torch.manual_seed(0)
    module = MultiTaskModule(options.backbone, lr=1e-4)
    data = SentimentDataModule(options.data, batch_size=32)
    data.tokenizer = module.tokenizer
    data.prepare_data()
    data.setup("fit")
    module.build(data.tasks)
    network, corpus = module.network.eval(), data.corpus
    assert corpus is not None
    pooled = {split: _pooled(network, data, split) for split in ("train", "val")}
    size, hidden = network.encoder.projection.weight.shape
    directions, _ = principal_directions([pooled["train"]], count=min(size, hidden))
    weights = {"orthogonal": network.encoder.projection.weight.detach(), "pca": directions}
    embedded = {
        name: {split: linear(vectors, weight.double()) for split, vectors in pooled.items()}
        for name, weight in weights.items()
    }
    primary = [f"{name} {task.primary_metric}" for name, task in network.tasks.items()]

    rows = []
    for name, vectors in embedded.items():
        unit = linear(normalize(pooled["val"], dim=1), weights[name].double())
        kept = [
            unit.square().sum(dim=1).mean().item(),
            kept_similarity(vectors["val"], pooled["val"]),
        ]
        rows.append([name, *kept, *_heads(network, corpus, vectors, rows=None, l2=L2)])
    print(_table(["projection", "squared length kept", "kept_similarity", *primary], rows))
    print()
    rows = [
        [count or "all", f"{l2:g}", *_heads(network, corpus, vectors, rows=count, l2=l2)]
        for vectors in [embedded["orthogonal"]]
        for count in (*options.rows, None)
        for l2 in (0.01, L2, 1.0)
    ]
    print(_table(["rows", "l2", *primary], rows))


def _table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = [[f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row] for row in rows]
    return tabulate(cells, headers, disable_numparse=True)


def _pooled(network: MultiTaskModel, data: SentimentDataModule, split: Split) -> Tensor:
    """Pooled vectors of a split's rows, (R, H), in float64."""
    encoder = network.encoder
    sampler = data.train_sampler() if split == "train" else data.val_sampler()
    assert data.corpus is not None
    found = torch.empty(
        len(data.corpus.splits[split]), encoder.backbone.hidden_size, dtype=torch.float64
    )
    for rows in sampler:
        batch = data.batch_of(split, rows)
        with torch.no_grad():
            vectors = encoder.prefix(
                batch["input_ids"], batch["attention_mask"], layers=encoder.backbone.num_layers
            )
        found[batch["row_id"]] = vectors.double()
    return found


def _heads(
    network: MultiTaskModel,
    corpus: Corpus,
    vectors: Mapping[str, Tensor],
    *,
    rows: int | None,
    l2: float,
) -> list[float | None]:
    """The primary metric of each task's fitted head on the validation split."""
    measured = []
    for name, task in network.tasks.items():
        known: dict[str, tuple[Tensor, Tensor]] = {}
        for split in ("train", "val"):
            dataset = corpus.splits[split]
            target = torch.tensor(targets_of(dataset, name), dtype=task.target_dtype)
            known[split] = (vectors[split][torch.from_numpy(labelled_rows(dataset, name))], target)
        embedding, target = known["train"]
        chosen = torch.randperm(len(target), generator=torch.Generator().manual_seed(0))[:rows]
        part = target[chosen]
        head = fit_linear(
            embedding[chosen],
            lambda output, task=task, part=part: task.row_loss(output, part),  # type: ignore[misc]
            outputs=task.output_dim,
            l2=l2,
        )
        embedding, target = known["val"]
        output = linear(embedding, head.weight, head.bias).float()
        measured.append(task.metrics(output, target)[task.primary_metric])
    return measured


if __name__ == "__main__":
    main()
