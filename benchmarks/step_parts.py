"""Where a step of full fine-tuning spends its time on a processor, and what this project's own functions save.

    python benchmarks/step_parts.py [--backbone minilm] [--rounds 2]    # minutes

Steps of one process on the same batches, in the precision that a run has by default: in turn with all of
the functions that `lit_mtl.model.cpu_step` puts in the place of torch's, and with some of torch's own. A
row is the median over the batches of the ratio of processor times, which other load changes least. The
parts are those of torch's profiler, of some steps with all of the project's functions.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from tabulate import tabulate
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from lit_mtl.commands.precision import default_precision
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.data.batch import Batch
from lit_mtl.model import cpu_step
from lit_mtl.pretrained import load_tokenizer
from training_sides import Job, Prepared
from training_speed import ROOT, write_rows

OURS = "lit_mtl's functions"

VARIANTS: dict[str, list[Callable[..., torch.Tensor]]] = {
    OURS: [],
    "torch's lookup of embeddings": [functional.embedding],
    "torch's dropout and attention": [
        functional.dropout,
        functional.scaled_dot_product_attention,
    ],
    "torch's own throughout": list(cpu_step.REPLACED),
}
"""Which of torch's functions are not replaced."""

PARTS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm"),
    "copies, most of them between types": ("copy_",),
    "optimizer": ("_fused_adamw_",),
    "softmax": ("_softmax", "_softmax_backward_data"),
    "GELU": ("gelu", "gelu_backward"),
    "layer normalisation": ("native_layer_norm", "native_layer_norm_backward"),
    "what dropout drops": ("random_", "ge"),
    "zeros": ("fill_", "zero_"),
}
"""What is taken together of the profiler's operations."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "movies")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2, help="over all batches")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    silence_upstream_notes()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = folder / "rows.jsonl"
        tokenizer = load_tokenizer(options.backbone)
        write_rows(options.data, rows, rows=options.rows, tokenizer=tokenizer)
        job = Job(rows=rows, backbone=options.backbone, frozen=[], epochs=1, scratch=folder)
        step, batches = _stepper(Prepared(job))
        ratios = _ratios(step, batches, rounds=options.rounds)
        shares = _shares(step, batches[:8])
    rows_of_ratios = [
        [name, f"{statistics.median(each):.2f}", f"{min(each):.2f} to {max(each):.2f}"]
        for name, each in ratios.items()
        if name != OURS
    ]
    pairs = len(ratios[OURS])
    print(
        f"{options.backbone}, precision {default_precision('cpu').name}, pairs of steps: {pairs}\n"
    )
    headers = ["a step with", "time over ours", "range"]
    print(tabulate(rows_of_ratios, headers, disable_numparse=True))
    print()
    rows_of_shares = [[name, f"{share:.0%}"] for name, share in shares.items()]
    print(tabulate(rows_of_shares, ["part of a step", "share"], disable_numparse=True))


def _stepper(prepared: Prepared) -> tuple[Callable[[Batch], None], list[Batch]]:
    """One step of training, and the batches of an epoch."""
    network = prepared.module.network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, weight_decay=0.01, fused=True)
    mixed = default_precision("cpu").name == "bf16-mixed"

    def step(batch: Batch) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            heads = network(batch["input_ids"], batch["attention_mask"]).heads
        losses = []
        for name, task in network.tasks.items():
            known = batch["labelled"][name]
            losses.append(task.row_loss(heads[name][known], batch["targets"][name][known]).mean())
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()

    rows = list(prepared.data.train_sampler())
    return step, [prepared.data.batch_of("train", each) for each in rows]


@contextmanager
def _torchs(functions: Sequence[Callable[..., torch.Tensor]]) -> Iterator[None]:
    """Leave some of torch's functions in their place."""
    kept = dict(cpu_step.REPLACED)
    for function in functions:
        del cpu_step.REPLACED[function]
    try:
        yield
    finally:
        cpu_step.REPLACED.update(kept)


def _ratios(
    step: Callable[[Batch], None], batches: Sequence[Batch], *, rounds: int
) -> dict[str, list[float]]:
    """Each variant's processor time over that of the project's own, for each batch and round."""
    taken: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for functions in VARIANTS.values():
        with _torchs(functions):
            step(batches[0])
    for number, batch in enumerate([*batches] * rounds):
        for name in list(VARIANTS)[:: -1 if number % 2 else 1]:
            with _torchs(VARIANTS[name]):
                begun = time.process_time()
                step(batch)
                taken[name].append(time.process_time() - begun)
    own = taken[OURS]
    return {
        name: [one / other for one, other in zip(each, own, strict=True)]
        for name, each in taken.items()
    }


def _shares(step: Callable[[Batch], None], batches: Sequence[Batch]) -> dict[str, float]:
    """The share of each part in the time of steps."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for batch in batches:
            step(batch)
    spent = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    whole = sum(spent.values())
    shares = {
        part: sum(spent.get(f"aten::{name}", 0.0) for name in names) / whole
        for part, names in PARTS.items()
    }
    return {**shares, "many small operations": 1 - sum(shares.values())}


if __name__ == "__main__":
    main()
