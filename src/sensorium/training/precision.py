"""Which arithmetic to train in: fp32, or bf16 by autocast with fp32 weights.

Enters: the config's word and the parameters.  Leaves: a dtype for `torch.autocast`, or None.
bf16 has fp32's range, so no loss scaling is needed (Kalamkar et al. 2019, "A Study of BFLOAT16").
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor

LARGE_ENOUGH = 1_000_000
"""Trainable numbers from which bf16 pays on a CPU (benchmarks/training_step.py, "autocast").

Below, casting can cost more than the shorter products save: decoders of 0.1, 0.6, 2 and 5 M numbers ran
at 0.9, 0.7, 1.1 and 1.2 times their fp32 speed.
"""


def choose(precision: str, parameters: Sequence[Tensor]) -> torch.dtype | None:
    """Return torch.bfloat16 to train under autocast, None to train in fp32.

    "auto" takes bf16 where it is known to be faster: on CUDA devices with bf16 units, and on CPUs
    with AVX512-BF16 or AMX for models of at least `LARGE_ENOUGH` trainable numbers.
    """
    if precision == "auto":
        return torch.bfloat16 if _is_faster(parameters) else None
    return torch.bfloat16 if precision == "bf16" else None


def autocast(device: torch.device, dtype: torch.dtype | None) -> contextlib.AbstractContextManager[object]:
    """Open autocast to `dtype`, or nothing for None."""
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def _is_faster(parameters: Sequence[Tensor]) -> bool:
    kind = parameters[0].device.type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return kind == "cpu" and cpu_has_bf16() and sum(p.numel() for p in parameters) >= LARGE_ENOUGH


def cpu_has_bf16() -> bool:
    """Say whether this CPU multiplies bf16 in hardware."""
    # Older torch cannot say; then fp32 it is.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
