"""One step: forward and backward over some batches, the checks, the update.

Enters: batches and a learning rate.  Leaves: changed weights and a `StepResult`; or an error, and
weights as they were.

    loss = sum nll / sum tokens over all rows of the step,
    gradient = d(sum nll) * min(1, clip_norm / norm) / sum tokens

The gradient of the sum is divided once at the end, so `accumulate` batches of n rows give the very
loss of one batch of accumulate * n rows, whatever the lengths of their texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from sensorium.core.errors import DataError, ModelError
from sensorium.core.types import Batch
from sensorium.training.config import TrainingConfig
from sensorium.training.precision import autocast, choose

NameRows = Callable[[Sequence[int]], str]
_NAMED_ROWS = 8


Losses = Callable[[Batch], tuple[Tensor, Tensor]]


class LossModel(Protocol):
    """What the loop asks of an nn.Module."""

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return each row's summed loss in nats (B,), and its count of tokens (B,)."""
        ...


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step read and did: sums over its rows, the gradient's norm before clipping, the rate."""

    nll: float
    num_tokens: int
    num_rows: int
    grad_norm: float
    rate: float


class Updater:
    """Make updates of one model, on the device its parameters are on.

    Args:
        model: has `losses` (see `LossModel`).
        optimiser: over its trainable parameters.
        config: clip_norm, precision and compile are read.
        name_rows: turns row numbers into places a person can find (``train.csv:812``).

    Raises:
        ModelError: the model has no `losses`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        config: TrainingConfig,
        name_rows: NameRows | None = None,
    ) -> None:
        self.model = model
        self.optimiser = optimiser
        self._parameters = [p for group in optimiser.param_groups for p in group["params"]]
        self._device = self._parameters[0].device
        self._dtype = choose(config.precision, self._parameters)
        self._clip_norm = math.inf if config.clip_norm is None else config.clip_norm
        self._name_rows = name_rows
        losses: Losses | None = getattr(model, "losses", None)
        if losses is None:
            raise ModelError(f"a {type(model).__name__} has no losses(batch) to train by")
        self._losses: Losses = _compiled(losses) if config.compile else losses

    def step(self, batches: Iterable[Batch], rate: float) -> StepResult:
        """Update the weights once from all of `batches`; without any row in them, leave the weights.

        Raises:
            ModelError: the loss or its gradient is NaN or infinite; the rows are named and the
                weights are as before.
            DataError: no row has a token to learn from.
        """
        self.optimiser.zero_grad(set_to_none=True)
        seen = [self._backward(batch.to(self._device)) for batch in batches if batch.num_rows]
        if not seen:
            return StepResult(0.0, 0, 0, 0.0, rate)
        grads = [p.grad for p in self._parameters if p.grad is not None]
        totals = [_total([part.nll for part in seen]), _total([part.num_tokens for part in seen])]
        # The one moment the host waits for the device: everything it has to know, in one transfer.
        nll, num_tokens, norm = torch.stack([*totals, torch.nn.utils.get_total_norm(grads)]).tolist()
        grad_norm = norm / max(num_tokens, 1)
        self._check(nll, num_tokens, grad_norm, seen)
        clip = min(1.0, self._clip_norm / max(grad_norm, 1e-12))
        torch._foreach_mul_(grads, clip / num_tokens)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1.0)
        self.optimiser.step()
        return StepResult(nll, int(num_tokens), sum(len(part.row_id_B) for part in seen), grad_norm, rate)

    def _backward(self, batch: Batch) -> _Part:
        with autocast(self._device, self._dtype):
            nll_B, num_tokens_B = self._losses(batch)
        nll_B = nll_B.float()
        nll = nll_B.sum()
        nll.backward()
        return _Part(batch.row_id_B, nll_B.detach(), nll.detach(), num_tokens_B.sum(dtype=torch.float32))

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
        names = self._name_rows(shown) if self._name_rows else ", ".join(f"row {row}" for row in shown)
        more = f" and {len(rows) - len(shown)} more rows" if len(rows) > len(shown) else ""
        return names + more


@dataclass(frozen=True, slots=True)
class _Part:
    """What one batch of a step leaves for the checks: (B,), (B,), and sums of no axes, float32."""

    row_id_B: Tensor
    nll_B: Tensor
    nll: Tensor
    num_tokens: Tensor


def _total(numbers: list[Tensor]) -> Tensor:
    return numbers[0] if len(numbers) == 1 else torch.stack(numbers).sum()


def _compiled(losses: Losses) -> Losses:
    """Compile at the first call; what torch.compile fails by becomes a ModelError."""
    from torch._dynamo.exc import TorchDynamoException

    compiled: Losses = torch.compile(losses)

    def run(batch: Batch) -> tuple[Tensor, Tensor]:
        try:
            return compiled(batch)
        except TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0][:200]
            advice = "set compile = false; on a CPU it needs a C++ compiler (g++)"
            raise ModelError(f"torch.compile failed: {reason}", advice=advice) from error

    return run
