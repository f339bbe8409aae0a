"""Word counts, mapped linearly (Harris 1954; the text side of the first visual question answering baselines).

x = c E,   c_v = how often token v stands in the text
"""

from __future__ import annotations

import torch
from torch import Tensor

from sensorium.encoders.text_bag import TextBag


class TextBagOfWords(TextBag):
    """Encode a text as a linear map of its word counts: (B, 1, width)."""

    def weights(self, token_UT: Tensor, mask_UT: Tensor) -> Tensor:
        """Return 1: every token counts once."""
        return torch.ones_like(token_UT, dtype=self.embed.weight.dtype)
