"""The precision of a run that asks for none."""

from typing import NamedTuple

import torch

MIXED = "bf16-mixed"
FULL = "32-true"

_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
"""Processor instructions that multiply bfloat16 matrices; without them torch emulates it, slowly."""


class Precision(NamedTuple):
    """What was chosen, as the Trainer takes it, and why."""

    name: str
    reason: str


def default_precision(accelerator: str) -> Precision:
    """Mixed bfloat16 where the hardware has it, else full precision.

    Mixed: weights and optimizer stay in float32, the backbone's matrix products are in bfloat16. It
    has the range of float32, so nothing is scaled, unlike with 16-bit floats.

    Args:
        accelerator: as the Trainer is given it.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision(MIXED, f"{torch.cuda.get_device_name()} computes in bfloat16")
        return Precision(FULL, f"{torch.cuda.get_device_name()} does not compute in bfloat16")
    if accelerator == "cpu" or (accelerator == "auto" and not torch.mps.is_available()):
        found = [name for name in _INSTRUCTIONS if torch.cpu.get_capabilities().get(name)]
        if found:
            return Precision(MIXED, f"this processor has {' and '.join(found)}")
        return Precision(FULL, f"this processor has neither {' nor '.join(_INSTRUCTIONS)}")
    return Precision(FULL, f"bfloat16 was not tried on the accelerator {accelerator!r}")
