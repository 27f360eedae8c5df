"""Cost of a training step under freezing, measured beside what is expected from counting layers.

    python benchmarks/step_cost.py [--backbone minilm] [--rounds 7]

All schemes take steps on the same batch in turn, so that other load on the machine meets all of
them; a row shows the median over the rounds of the ratio to full fine-tuning in the same round.
Memory is what the forward pass keeps for backward, weights among it: bytes of distinct storages.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from tabulate import tabulate

from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.optim.freezing_plan import relative_cost
from lit_mtl.optim.param_groups import Rates, build_param_groups
from lit_mtl.optim.selectors import select
from lit_mtl.tasks import Classification, Regression

SCHEMES: dict[str, list[str]] = {
    "full": [],
    "top third": ["backbone.embeddings", "backbone.layers[:2/3]"],
    "top third, embeddings trainable": ["backbone.layers[:2/3]"],
    "backbone frozen": ["backbone"],
}


def stepper(backbone: str, selectors: list[str]) -> tuple[Callable[[], None], float, int]:
    """A function that takes one step, its expected relative cost, and the bytes it saves."""
    torch.manual_seed(0)
    network = MultiTaskModel.from_backbone(
        backbone,
        tasks={"label": Classification(labels=("a", "b")), "score": Regression(low=-4, high=4)},
    )
    places = network.places()
    frozen = select(selectors, places)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    rates = Rates(lr=1e-5, weight_decay=0.01)
    optimizer = torch.optim.AdamW(
        build_param_groups(network, places=places, rates=rates), fused=True
    )
    ids = torch.randint(1000, 20_000, (32, 26))
    mask = torch.ones_like(ids)

    def step() -> None:
        heads = network(ids, mask).heads
        loss = heads["label"].square().mean() + heads["score"].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    saved: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        step()
    return step, relative_cost(frozen, places), sum(saved.values())


def seconds(step: Callable[[], None], repeats: int = 3) -> float:
    """Mean duration of a step."""
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    schemes = {name: stepper(options.backbone, selectors) for name, selectors in SCHEMES.items()}
    rounds = [
        {name: seconds(step) for name, (step, _, _) in schemes.items()}
        for _ in range(options.rounds)
    ]
    rows = []
    for name, (_, expected, saved) in schemes.items():
        ratios = sorted(taken[name] / taken["full"] for taken in rounds)
        rows.append(
            [
                name,
                f"{statistics.median(ratios):.2f}",
                f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
                f"{expected:.2f}",
                f"{saved / 2**20:.0f}",
            ]
        )
    headers = ["trained", "step time", "range", "expected", "saved for backward, MiB"]
    print(tabulate(rows, headers, disable_numparse=True))


if __name__ == "__main__":
    main()
