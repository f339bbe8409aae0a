"""Which arithmetic to train in: fp32, or bf16 by autocast with fp32 weights.

Enters: the config's word, the device.  Leaves: a dtype for `torch.autocast`, or None.
"""

from __future__ import annotations

import contextlib

import torch


def choose(precision: str, device: torch.device) -> torch.dtype | None:
    """Return torch.bfloat16 to train under autocast, None to train in fp32.

    "auto" takes bf16 on a CUDA device with bf16 units, else fp32.
    """
    if precision == "auto":
        precision = (
            "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
        )
    return torch.bfloat16 if precision == "bf16" else None


def autocast(device: torch.device, dtype: torch.dtype | None) -> contextlib.AbstractContextManager[object]:
    """Open autocast to `dtype`, or nothing for None; reusable."""
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)
