"""Sounds and images that a codebook has turned into words: the mean of their codes' vectors.

Enters: (U, T) int64 code ids from a `CodebookPreparer`.  Leaves: one position a medium.
The same ids are the evidence of scorers that count.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.text_input import VocabPreparer, full_mask


class CodeWordsInput(Section):
    """The codebook, and the size of its codes' vectors."""

    hidden: int = Field(64, ge=1, le=65_536)
    codes: int = Field(256, ge=2, le=65_536)
    """How many different words there are."""
    fitted_on: int = Field(1000, ge=1)
    """How many training media, drawn by chance, the codebook is fitted on."""


class CodeWords(nn.Module):
    """Encode a medium as the mean of its codes' vectors: (B, 1, width).

    Args:
        config: sizes.
        preparer: the fitted codebook preparer.
        width: D of the result.
    """

    def __init__(self, config: CodeWordsInput, preparer: VocabPreparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.feature_width = config.hidden
        self.embed = nn.Embedding(len(preparer.vocab), config.hidden)
        self.outlet = Outlet(config.hidden, width)

    def features(self, token_UT: Tensor, mask_UT: Tensor | None) -> Features:
        """Return the means (U, 1, hidden), and (U, 1) whether a medium has any code."""
        mask_UT = full_mask(token_UT, mask_UT)
        weight_UT = mask_UT.to(self.embed.weight.dtype) / mask_UT.sum(1, keepdim=True).clamp_min(1)
        x_UF = torch.einsum("ut,utf->uf", weight_UT, self.embed(token_UT))
        return x_UF[:, None], mask_UT.any(1, keepdim=True)

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, 1, width)."""
        return encode(self, media)
