"""One step: forward and backward over some batches, the checks, the update.

Enters: batches and a learning rate.  Leaves: changed weights and a `StepResult`; or an error, and
weights as they were.

    loss = sum nll / sum tokens over all rows of the step,
    gradient = d(sum nll) * min(1, clip_norm / norm) / sum tokens

The gradient of the sum is divided once at the end, so `accumulate` batches of n rows give the very
loss of one batch of accumulate * n rows, whatever the lengths of their texts.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from sensorium.core.errors import DataError, ModelError, OutOfMemoryError
from sensorium.core.types import Batch
from sensorium.training.precision import autocast

NameRows = Callable[[Sequence[int]], Sequence[str]]
_NAMED_ROWS = 8


class LossModel(Protocol):
    """What the loop asks of an nn.Module."""

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return each row's summed loss in nats (B,), and its count of tokens (B,)."""
        ...


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step read and did: sums over its rows, and the gradient's norm before clipping."""

    nll: float
    num_tokens: int
    num_rows: int
    grad_norm: float


class Updater:
    """Make updates of one model.

    Args:
        model: has `losses` (see `LossModel`).
        optimiser: over its trainable parameters.
        clip_norm: largest norm of the whole gradient, None = any.
        dtype: of autocast, None = fp32.
        device: where the model is; batches are brought there.
        compiled: run `losses` through torch.compile.
        name_rows: turns row numbers into places a person can find (``train.csv:812``).
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        clip_norm: float | None,
        dtype: torch.dtype | None,
        device: torch.device,
        compiled: bool = False,
        name_rows: NameRows | None = None,
    ) -> None:
        self._optimiser = optimiser
        self._parameters = [p for group in optimiser.param_groups for p in group["params"]]
        self._clip_norm = clip_norm
        self._device = device
        self._dtype = dtype
        self._name_rows = name_rows
        losses = getattr(model, "losses", None)
        if losses is None:
            raise ModelError(f"a {type(model).__name__} has no losses(batch) to train by")
        self._losses: Callable[[Batch], tuple[Tensor, Tensor]] = torch.compile(losses) if compiled else losses

    def step(self, batches: Iterable[Batch], rate: float) -> StepResult:
        """Update the weights once from all of `batches`.

        Raises:
            ModelError: the loss or its gradient is NaN or infinite; the rows are named and the
                weights are as before.
            DataError: no row has a token to learn from.
        """
        self._optimiser.zero_grad(set_to_none=True)
        seen = [self._backward(batch.to(self._device)) for batch in batches]
        nll = torch.stack([part.nll_B.sum(dtype=torch.float64) for part in seen]).sum()
        tokens = torch.stack([part.num_tokens for part in seen]).sum()
        grads = [p.grad for p in self._parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads) / tokens
        # The one moment the host waits for the device: everything it has to know, in one transfer.
        nll_sum, num_tokens, grad_norm = torch.stack([nll, tokens.double(), norm.double()]).tolist()
        self._check(nll_sum, num_tokens, grad_norm, seen)
        clip = 1.0 if self._clip_norm is None else min(1.0, self._clip_norm / max(grad_norm, 1e-12))
        torch._foreach_mul_(grads, clip / num_tokens)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        return StepResult(nll_sum, int(num_tokens), sum(len(part.row_id_B) for part in seen), grad_norm)

    def _backward(self, batch: Batch) -> _Part:
        with autocast(self._device, self._dtype):
            nll_B, num_tokens_B = self._losses(batch)
        nll_B = nll_B.float()
        nll_B.sum().backward()  # type: ignore[no-untyped-call]
        return _Part(batch.row_id_B, nll_B.detach(), num_tokens_B.sum())

    def _check(self, nll: float, num_tokens: float, grad_norm: float, seen: list[_Part]) -> None:
        if num_tokens == 0:
            rows = [row for part in seen for row in part.row_id_B.tolist()]
            raise DataError("a batch has no target token to learn from", where=self._name(rows))
        if math.isfinite(nll) and math.isfinite(grad_norm):
            return
        bad = [row for part in seen for row in part.row_id_B[~part.nll_B.isfinite()].tolist()]
        rows = bad or [row for part in seen for row in part.row_id_B.tolist()]
        what = f"the loss is {nll}" if bad else f"the gradient's norm is {grad_norm}"
        raise ModelError(
            f"{what}; stopped before the update, the weights are as they were",
            where=self._name(rows),
            advice="look at these rows; else lower learning_rate, or set precision = 'fp32'",
        )

    def _name(self, rows: Sequence[int]) -> str:
        shown = rows[:_NAMED_ROWS]
        names = [f"row {row}" for row in shown] if self._name_rows is None else self._name_rows(shown)
        more = f" and {len(rows) - len(shown)} more rows" if len(rows) > len(shown) else ""
        return ", ".join(names) + more


@dataclass(frozen=True, slots=True)
class _Part:
    """What one batch of a step leaves for the checks: (B,), (B,) and a count."""

    row_id_B: Tensor
    nll_B: Tensor
    num_tokens: Tensor


@contextlib.contextmanager
def named_memory_errors(batch_rows: int) -> Iterator[None]:
    """Turn whatever "out of memory" is called here into `OutOfMemoryError` with advice."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        text = str(error)
        # The CPU allocator raises a plain RuntimeError; its text is all that tells.
        if type(error) is RuntimeError and "can't allocate memory" not in text:
            raise
        if isinstance(error, RuntimeError | MemoryError):
            raise OutOfMemoryError(
                f"out of memory with batches of {batch_rows} rows: {text.splitlines()[0][:200] if text else 'no details'}",
                advice="halve batch_rows and double accumulate: the same loss from half the memory",
            ) from error
        raise
