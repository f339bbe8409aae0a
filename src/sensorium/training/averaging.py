"""An exponential moving average of the weights, beside the weights themselves.

Enters: a model after each update.  Leaves: the average, which can stand in for the model's weights for a while.

    a <- a + (1 - d_t) (w - a),   d_t = min(d, (1 + t) / (10 + t))       t updates so far; w weights, a average

Running statistics of batch norms are averaged with the weights; other buffers (counts, tables) do not move.
Sources: Polyak and Juditsky 1992 (averaging); Tarvainen and Valpola 2017, section 2 (exponential); the warm-up is
that of TensorFlow's ExponentialMovingAverage.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from sensorium.core.errors import ModelError


class WeightAverage:
    """The average of a model's trained weights.

    Args:
        decay: d, below 1; a weight counts for about 1 / (1 - d) updates.
        kept: the average of a resumed run; None begins with the weights as they are.

    Raises:
        ModelError: what was kept is of another model.
    """

    def __init__(self, model: nn.Module, decay: float, kept: Mapping[str, Tensor] | None = None) -> None:
        self._decay = decay
        self._live = _averaged(model)
        self._mean = {name: value.detach().clone() for name, value in self._live.items()}
        if kept is not None:
            if kept.keys() != self._mean.keys():
                raise ModelError("the averaged weights are of another model", advice="resume with the same config")
            for name, value in kept.items():
                self._mean[name].copy_(value)

    @property
    def weights(self) -> dict[str, Tensor]:
        """Return the average on the CPU, by name."""
        return {name: value.to("cpu", copy=True).contiguous() for name, value in self._mean.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights in after update number `step`, from 1."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self._mean.values()), [w.detach() for w in self._live.values()], share)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the average instead of its weights, and give them back exactly."""
        kept = {name: value.detach().clone() for name, value in self._live.items()}
        self._set(self._mean)
        try:
            yield
        finally:
            self._set(kept)

    @torch.no_grad()
    def _set(self, weights: Mapping[str, Tensor]) -> None:
        for name, value in self._live.items():
            value.copy_(weights[name])


def _averaged(model: nn.Module) -> dict[str, Tensor]:
    """Name what moves in training: parameters with gradients, running statistics of batch norms."""
    found: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for prefix, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            statistics = {"running_mean": module.running_mean, "running_var": module.running_var}
            found |= {f"{prefix}.{name}": value for name, value in statistics.items() if value is not None}
    return found
