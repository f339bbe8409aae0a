"""A linear map that asks oneDNN where that is faster than what torch asks by itself.

Enters: what `torch.nn.functional.linear` takes.  Leaves: what it returns, with gradients.

For float32 on a CPU torch calls MKL, which on AMD processors does not use AVX-512 and reaches less than
half of their speed; the oneDNN that torch also carries does (measured with 1 thread of an EPYC, 4096 x
256 x 1360, forward and backward: 89 and 193 GFLOP/s, to the same rounding).  Torch offers it only as an
operator for its compiler, so it is tried once before it is trusted, and `F.linear` does the rest: other
devices and dtypes, autocast, compiled code, processors and builds without it.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WORTHWHILE = 1 << 20  # multiplications; with fewer, starting oneDNN costs more than it saves (some 15 us)
_PLAIN = (Tensor, nn.Parameter)
_FEW_ROWS = 4  # with fewer, all time goes into reading the weight, which MKL does as well


def linear(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Return x W^T + b over the last dimension of `x`; the weight may be any transposed view."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu") or not _suits(x, weight_OI):
        return F.linear(x, weight_OI, bias_O)
    if torch.is_grad_enabled() and (x.requires_grad or weight_OI.requires_grad or _wants_gradient(bias_O)):
        y: Tensor = _Linear.apply(x, weight_OI, bias_O)  # type: ignore[no-untyped-call]
        return y
    return _onednn(x, weight_OI, bias_O)


class Linear(nn.Linear):
    """`nn.Linear` by way of `linear`: the same parameters, sooner."""

    def forward(self, input: Tensor) -> Tensor:
        """Map the last dimension."""
        return linear(input, self.weight, self.bias)


def _suits(x: Tensor, weight_OI: Tensor) -> bool:
    return (
        type(weight_OI) in _PLAIN  # a tensor of another kind (`core.int8`) knows its own way
        and x.numel() * weight_OI.shape[0] >= _WORTHWHILE
        and x.dtype == weight_OI.dtype == torch.float32
        and x.device.type == weight_OI.device.type == "cpu"
        and x.dim() > 1
        and x.numel() >= _FEW_ROWS * weight_OI.shape[1] > 0
        and has_onednn()
    )


def _wants_gradient(bias_O: Tensor | None) -> bool:
    return bias_O is not None and bias_O.requires_grad


def _onednn(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight_OI, bias_O, "none", [], "")
    return y


@functools.cache
def has_onednn() -> bool:
    """Say whether this build of torch has oneDNN's linear map, and it computes what it should."""
    if not torch.backends.mkldnn.is_available():
        return False
    x, weight, bias = (torch.arange(n, dtype=torch.float32).view(shape) for n, shape in _TRIAL)
    try:
        with torch.inference_mode():
            return torch.equal(_onednn(x, weight, bias), F.linear(x, weight, bias))
    except (RuntimeError, TypeError, AttributeError):
        return False


_TRIAL: tuple[tuple[int, tuple[int, ...]], ...] = ((6, (2, 3)), (12, (4, 3)), (4, (4,)))


class _Linear(torch.autograd.Function):
    """y = x W^T + b;  dx = dy W,  dW = dy^T x,  db = sum dy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight_OI)
        return _onednn(x, weight_OI, bias_O)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight_OI = ctx.saved_tensors
        grad_NO, x_NI = grad.flatten(0, -2).contiguous(), x.flatten(0, -2)
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        dx = _onednn(grad_NO, weight_OI.t(), None).view(x.shape) if wants_x else None
        # (x^T dy)^T, so that the longer of the two products' rows is the one oneDNN blocks over.
        dweight = _onednn(x_NI.t(), grad_NO.t(), None).t() if wants_weight else None
        return dx, dweight, grad_NO.sum(0) if wants_bias else None
