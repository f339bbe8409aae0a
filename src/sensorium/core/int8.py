"""A matrix of 8-bit integers that torch takes for the floating matrix it stands for.

    W ~ diag(s) Q,   s_o = max_i |W_oi| / 127,   Q integer                         one scale an output
    x W^T ~ diag(t) (P Q^T) diag(s),   t_n = max_i |x_ni| / 127,   P integer       one scale a row of x

Enters: a floating matrix, output first or input first.  Leaves: `Int8Matrix`, which may stand wherever it stood:
`F.linear`, `mm`, `matmul` and `embedding` read the integers, anything else gets the floating matrix that they mean,
made anew each time.  So no layer, and no architecture, has to know of it.

Rows of x are rounded each by its own peak ("dynamic", per token), so that no row's result depends on its
neighbours; torch's own dynamic kernels round a whole batch by one peak.  Products are exact sums of integers.
Measured with 1 thread of an EPYC with VNNI, one row: 1360 x 256 14 us for 18, 2500 x 256 18 us for 35,
49152 x 576 0.8 ms for 4.3 to 7.4; 256 x 256 12 us for 4, because what is saved is reading the weight, and eight
small operations are added.  `is_worthwhile` draws the line.

Source: Dettmers et al. 2022, "LLM.int8()" (arXiv 2208.07339), section 2.1, "row-wise and column-wise" scales.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_STEPS = 127
_WORTHWHILE = 1 << 18  # entries; smaller matrices are read faster than their input is rounded
_TINY = 1e-30


def is_worthwhile(matrix: Tensor) -> bool:
    """Say whether products with a matrix are faster in integers, on this processor."""
    return matrix.numel() >= _WORTHWHILE and matrix.device.type == "cpu" and multiplies_integers()


@functools.cache
def multiplies_integers() -> bool:
    """Say whether the processor multiplies 8-bit integers faster than floats, and torch does it as it should."""
    try:
        if not torch.cpu._is_vnni_supported():
            return False
        x_NI = torch.arange(-6, 6, dtype=torch.int8).view(3, 4)
        want = x_NI.int() @ x_NI.int().t()
        return torch.equal(torch._int_mm(x_NI, x_NI.t()), want)
    except (AttributeError, RuntimeError):
        return False


def quantised(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """Round a matrix to integers: Q (O, I) int8 in -127..127, and scales (O,) float32.

    What has been rounded before is rounded to the same again.
    """
    wide_OI = weight_OI.detach().float()
    scale_O = wide_OI.abs().amax(1).clamp_min(_TINY) / _STEPS
    return (wide_OI / scale_O[:, None]).round_().clamp_(-_STEPS, _STEPS).to(torch.int8), scale_O


def dequantised(weight_OI: Tensor, scale_O: Tensor) -> Tensor:
    """Return the matrix that integers mean, (O, I) float32."""
    return weight_OI.float() * scale_O[:, None]


class Int8Matrix(Tensor):
    """Integers and their scales, with the shape and dtype of what they stand for.

    Args:
        weight_OI: (O, I) int8, contiguous.
        scale_O: (O,) float32.
        is_input_first: stand for the (I, O) transposed matrix.
        dtype: of the matrix that it stands for.
    """

    weight_OI: Tensor
    scale_O: Tensor
    is_input_first: bool

    @staticmethod
    def __new__(
        cls, weight_OI: Tensor, scale_O: Tensor, is_input_first: bool = False, dtype: torch.dtype = torch.float32
    ) -> Int8Matrix:
        """Wrap; the result needs no gradient."""
        shape = tuple(reversed(weight_OI.shape)) if is_input_first else tuple(weight_OI.shape)
        made: Int8Matrix = Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=weight_OI.device)
        made.weight_OI, made.scale_O, made.is_input_first = weight_OI, scale_O, is_input_first
        return made

    @classmethod
    def of(cls, matrix: Tensor, *, is_input_first: bool = False) -> Int8Matrix:
        """Round a floating matrix."""
        weight_OI, scale_O = quantised(matrix.t() if is_input_first else matrix)
        return cls(weight_OI.contiguous(), scale_O, is_input_first, matrix.dtype)

    def dense(self) -> Tensor:
        """Return the floating matrix that this one stands for."""
        dense_OI = dequantised(self.weight_OI, self.scale_O)
        with torch._C.DisableTorchFunctionSubclass():
            dtype = self.dtype
        return (dense_OI.t() if self.is_input_first else dense_OI).to(dtype)

    def turned(self) -> Int8Matrix:
        """Return the transposed matrix, of the same integers."""
        with torch._C.DisableTorchFunctionSubclass():
            dtype = self.dtype
        return Int8Matrix(self.weight_OI, self.scale_O, not self.is_input_first, dtype)

    def product(self, x: Tensor, bias_O: Tensor | None = None) -> Tensor:
        """Return x W^T + b over the last dimension of `x`, in its dtype."""
        # Rounding has no gradient; and torch._int_mm is wrong for one column (2.13, oneDNN).
        if (torch.is_grad_enabled() and x.requires_grad) or x.shape[-1] < 2:
            return F.linear(x, dequantised(self.weight_OI, self.scale_O).to(x.dtype), bias_O)
        if not x.numel():
            return x.new_zeros(*x.shape[:-1], len(self.scale_O))
        wide_NI = x.float() if x.dim() == 2 else x.reshape(-1, x.shape[-1]).float()
        step_N1 = torch.linalg.vector_norm(wide_NI, math.inf, 1, True).clamp_min_(_TINY).div_(_STEPS)
        rounded_NI = (wide_NI / step_N1).round_().to(torch.int8)
        y_NO = torch._int_mm(rounded_NI, self.weight_OI.t()).mul(self.scale_O).mul_(step_N1)
        if bias_O is not None:
            y_NO.add_(bias_O)
        y_NO = y_NO.to(x.dtype)
        return y_NO if x.dim() == 2 else y_NO.unflatten(0, x.shape[:-1])

    def looked_up(self, index: Tensor) -> Tensor:
        """Return rows of the matrix, (..., I)."""
        rows = self.weight_OI[index].float() * self.scale_O[index][..., None]
        with torch._C.DisableTorchFunctionSubclass():
            return rows.to(self.dtype)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Read the integers where there is a way to, else see `__torch_dispatch__`."""
        handler = _HANDLERS.get(func)
        if handler is not None and (found := handler(*args, **(kwargs or {}))) is not NotImplemented:
            return found
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Do anything else with the matrix that this one stands for; a detached one stays what it is."""
        if func in _KEEPING and isinstance(args[0], Int8Matrix):
            same = args[0]
            return Int8Matrix(same.weight_OI, same.scale_O, same.is_input_first, same.dtype)
        if func._schema.is_mutable and isinstance(args[0], Int8Matrix):
            raise RuntimeError("weights that are rounded to integers cannot be written to in place")
        dense = [one.dense() if isinstance(one, Int8Matrix) else one for one in args]
        named = {key: one.dense() if isinstance(one, Int8Matrix) else one for key, one in (kwargs or {}).items()}
        return func(*dense, **named)


_KEEPING = (torch.ops.aten.detach.default, torch.ops.aten.alias.default)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    if not isinstance(weight, Int8Matrix) or weight.is_input_first or isinstance(input, Int8Matrix):
        return NotImplemented
    return weight.product(input, bias)


def _matmul(input: Tensor, other: Tensor, **named: Any) -> Any:
    if named or not isinstance(other, Int8Matrix) or not other.is_input_first or isinstance(input, Int8Matrix):
        return NotImplemented
    return other.product(input)


def _addmm(input: Tensor, mat1: Tensor, mat2: Tensor, **named: Any) -> Any:
    found = NotImplemented if isinstance(input, Int8Matrix) else _matmul(mat1, mat2, **named)
    return found if found is NotImplemented else found.add_(input)


def _embedding(
    input: Tensor, weight: Tensor, _padding: int | None = None, max_norm: Any = None, *_: Any, **_named: Any
) -> Any:
    if max_norm is not None or not isinstance(weight, Int8Matrix) or weight.is_input_first:
        return NotImplemented
    return weight.looked_up(input)


def _turned(input: Tensor) -> Any:
    return input.turned() if isinstance(input, Int8Matrix) else NotImplemented


def _detached(input: Int8Matrix) -> Int8Matrix:
    return input.turned().turned()


def _place(input: Int8Matrix) -> int:
    return input.weight_OI.data_ptr()


_HANDLERS: dict[Any, Callable[..., Any]] = {
    F.linear: _linear,
    F.embedding: _embedding,
    torch.addmm: _addmm,
    Tensor.data_ptr: _place,
    Tensor.detach: _detached,
    **dict.fromkeys((torch.mm, torch.matmul, Tensor.mm, Tensor.matmul, Tensor.__matmul__), _matmul),
    **dict.fromkeys((torch.t, Tensor.t, Tensor.T.__get__), _turned),  # type: ignore[attr-defined]
}
