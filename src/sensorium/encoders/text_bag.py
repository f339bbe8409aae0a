"""A text as a weighted sum of word vectors: what `text.bag_of_words`, `text.tfidf` and `text.embedding` share.

Enters: (U, T) int64 token ids.  Leaves: one position a text, x = sum_t w_t E[token_t].

A linear map of counts is such a sum: with c the counts over the vocabulary, c E = sum_t E[token_t].  So the
vector of counts, as long as the vocabulary, is never made.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.text_input import EmbeddingInput, VocabPreparer, WordDropout, full_mask, load_vectors


class TextBag(nn.Module):
    """Encode a text as sum_t w_t E[token_t]; a subclass says `weights`.

    Args:
        config: sizes.
        preparer: the fitted text preparer; its vocabulary is embedded.
        width: D of the result.
    """

    class Config(EmbeddingInput):
        """Options of the bags."""

        hidden: int = Field(256, ge=1, le=65_536)

    modality = "text"
    normalises = False
    """Whether the sum is normalised to one scale before it is projected."""

    def __init__(self, config: Config, preparer: VocabPreparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.feature_width = config.hidden
        self.vocab, self.vectors = preparer.vocab, config.vectors
        self.augment = WordDropout(config.word_dropout)
        self.embed = nn.Embedding(len(preparer.vocab), config.hidden)
        self.outlet = Outlet(config.hidden, width, norm=self.normalises)

    def weights(self, token_UT: Tensor, mask_UT: Tensor) -> Tensor:
        """Return w (U, T), float."""
        raise NotImplementedError

    def features(self, token_UT: Tensor, mask_UT: Tensor | None) -> Features:
        """Return the sums (U, 1, hidden), and (U, 1) whether a text has any token."""
        mask_UT = full_mask(token_UT, mask_UT)
        token_UT = self.augment(token_UT)
        weight_UT = torch.where(mask_UT, self.weights(token_UT, mask_UT), 0)
        x_UF = torch.einsum("ut,utf->uf", weight_UT, self.embed(token_UT))
        return x_UF[:, None], mask_UT.any(1, keepdim=True)

    def load_pretrained(self) -> Self:
        """Begin with the configured word vectors, if any; returns self.  Raises DataError."""
        load_vectors(self.embed, self.vocab, self.vectors)
        return self

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, 1, width)."""
        return encode(self, media)


def counts_in_text(token_UT: Tensor, mask_UT: Tensor) -> Tensor:
    """Count, for each token, how often it stands in its own text: (U, T) float, at least 1 where real.

    Each text is sorted, and a token's run found in it, so that what is held grows with T, not with its square.
    """
    sorted_UT = torch.where(mask_UT, token_UT, -1).sort(1).values
    token_UT = token_UT.contiguous()
    first_UT, end_UT = (torch.searchsorted(sorted_UT, token_UT, right=right) for right in (False, True))
    return (end_UT - first_UT).to(torch.get_default_dtype())
