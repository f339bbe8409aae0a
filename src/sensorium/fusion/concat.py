"""Positions of all parts, one after another; the scorer's attention does the rest.

    memory = [x_1 + e_1 ; ... ; x_K + e_K],   M = T_1 + ... + T_K

e_k is a learned vector that says which part a position is of (the segment embedding of Devlin et al. 2019; early
fusion in the sense of Chen et al. 2020, UNITER).  An absent part is its one absent token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.parts import conditioning, ordered


class Concat(nn.Module):
    """Line up the positions of all parts.

    Args:
        config: nothing to choose.
        names: the inputs.
        width: D.
    """

    class Config(Section):
        """`concat` has no options."""

    def __init__(self, config: Config, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = width
        self.kind_KD = nn.Parameter(torch.randn(len(self.names), width) * 0.02)

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse: (B, sum of T, D).  Raises ModelError on a missing part."""
        chosen = ordered(parts, self.names)
        x_BMD = torch.cat([part.x_BTD + kind_D for part, kind_D in zip(chosen, self.kind_KD, strict=True)], dim=1)
        mask_BM = torch.cat([part.mask_BT for part in chosen], dim=1)
        return conditioning(torch.where(mask_BM[..., None], x_BMD, 0), mask_BM, parts)

    def reading(self, parts: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Return what each position was read from, (B, M, T) by part: every position is one of a part's own."""
        mask_BM = torch.cat([part.mask_BT for part in ordered(parts, self.names)], dim=1)
        own_BMM = torch.diag_embed(mask_BM.float())
        lengths = [parts[name].mask_BT.shape[1] for name in self.names]
        return dict(zip(self.names, torch.split(own_BMM, lengths, dim=2), strict=True))
