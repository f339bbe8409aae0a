"""The average of word vectors (Mikolov et al. 2013; Joulin et al. 2017, fastText; Iyyer et al. 2015).

x = (1 / T) sum_t E[token_t]
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from sensorium.encoders.text_bag import TextBag


class TextEmbedding(TextBag):
    """Encode a text as the mean of its word vectors: (B, 1, width)."""

    class Config(TextBag.Config):
        """Options of `text.embedding`."""

        hidden: int = Field(128, ge=1, le=65_536)

    normalises = True

    def weights(self, token_UT: Tensor, mask_UT: Tensor) -> Tensor:
        """Return 1 / T of each text."""
        length_U1 = mask_UT.sum(1, keepdim=True).clamp_min(1)
        return length_U1.to(self.embed.weight.dtype).reciprocal().expand(token_UT.shape)
