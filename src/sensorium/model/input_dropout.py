"""Hide inputs in training, so that a model learns to do without any of them (Neverova et al. 2016, ModDrop).

Enters: a batch.  Leaves: the same rows, of which some show fewer inputs; none loses all that it has.

First the patterns: with its chance, a row that has all inputs of a pattern shows these alone.  Where a question is
typed and spoken, `"photo+speech" = 0.5` makes half of such rows listen.  Then the rates: each input that is left is
hidden with its own chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sensorium.core.types import Batch


@dataclass(frozen=True)
class InputDropout:
    """Hide inputs by chance.

    Attributes:
        rates: chance to be hidden, by input; others are never.
        patterns: chance by set of inputs; the sum is at most 1.
    """

    rates: Mapping[str, float]
    patterns: Mapping[frozenset[str], float]

    def __bool__(self) -> bool:
        return any(self.rates.values()) or any(self.patterns.values())

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with some inputs marked absent."""
        names = list(batch.inputs)
        present_KB = torch.stack([batch.inputs[name].row_B >= 0 for name in names])
        keep_KB = self._by_rate(names, self._by_pattern(names, present_KB))
        inputs = {
            name: replace(media, row_B=torch.where(keep_B, media.row_B, -1))
            for (name, media), keep_B in zip(batch.inputs.items(), keep_KB, strict=True)
        }
        return replace(batch, inputs=inputs)

    def _by_pattern(self, names: list[str], present_KB: Tensor) -> Tensor:
        draw_B = torch.rand(present_KB.shape[1], device=present_KB.device)
        keep_KB, low = present_KB, 0.0
        for pattern, chance in self.patterns.items():
            shown_K1 = torch.tensor([[name in pattern] for name in names], device=present_KB.device)
            chosen_B = (draw_B >= low) & (draw_B < low + chance) & (present_KB | ~shown_K1).all(0)
            keep_KB = torch.where(chosen_B, shown_K1, keep_KB)
            low += chance
        return keep_KB

    def _by_rate(self, names: list[str], present_KB: Tensor) -> Tensor:
        rate_K1 = torch.tensor([[self.rates.get(name, 0.0)] for name in names], device=present_KB.device)
        draw_KB = torch.rand(present_KB.shape, device=present_KB.device)
        # The draw that lies furthest above its rate keeps its input, should all of a row's be hidden.
        margin_KB = (draw_KB - rate_K1).masked_fill(~present_KB, -2.0)
        return present_KB & ((margin_KB >= 0) | (margin_KB == margin_KB.amax(0, keepdim=True)))
