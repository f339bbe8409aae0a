"""Word vectors read by a recurrent network: what `text.rnn`, `text.lstm` and `text.gru` have in common.

Enters: (U, T) int64 token ids.  Leaves: one position a token.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field
from torch import Tensor, nn

from sensorium.core.recurrence import Cell, Recurrence
from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.text_input import EmbeddingInput, VocabPreparer, WordDropout, full_mask, load_vectors


class TextRecurrent(nn.Module):
    """Encode a text with the recurrent `cell` of the subclass.

    Args:
        config: sizes.
        preparer: the fitted text preparer; its vocabulary is embedded.
        width: D of the result.
    """

    class Config(EmbeddingInput):
        """Options of the recurrent text encoders."""

        embedding: int = Field(128, ge=1, le=65_536)
        hidden: int = Field(128, ge=2, le=65_536, multiple_of=2)
        """Units over both directions together."""
        layers: int = Field(1, ge=1, le=32)
        bidirectional: bool = True
        dropout: float = Field(0.0, ge=0.0, lt=1.0)

    modality = "text"
    cell: Cell

    def __init__(self, config: Config, preparer: VocabPreparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.feature_width = config.hidden
        self.vocab, self.vectors = preparer.vocab, config.vectors
        self.augment = WordDropout(config.word_dropout)
        self.embed = nn.Embedding(len(preparer.vocab), config.embedding)
        self.dropout = nn.Dropout(config.dropout)
        self.trunk = Recurrence(
            self.cell, config.embedding, config.hidden, config.layers, config.bidirectional, config.dropout
        )
        self.outlet = Outlet(self.feature_width, width)

    def features(self, token_UT: Tensor, mask_UT: Tensor | None) -> Features:
        """Return the hidden states (U, T, hidden) and their mask."""
        mask_UT = full_mask(token_UT, mask_UT)
        token_UT = self.augment(token_UT)
        return self.trunk(self.dropout(self.embed(token_UT)), mask_UT), mask_UT

    def load_pretrained(self) -> Self:
        """Begin with the configured word vectors, if any; returns self.  Raises DataError."""
        load_vectors(self.embed, self.vocab, self.vectors)
        return self

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, T, width)."""
        return encode(self, media)
