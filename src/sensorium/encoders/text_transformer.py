"""A Transformer encoder over word vectors, positions by rotation (Vaswani et al. 2017; Su et al. 2021).

Enters: (U, T) int64 token ids.  Leaves: one position a token.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.core.rotary import Rotary
from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.self_attention import EncoderBlock
from sensorium.encoders.text_input import EmbeddingInput, VocabPreparer, WordDropout, full_mask, load_vectors


class TextTransformer(nn.Module):
    """Encode a text with self-attention in both directions.

    Args:
        config: sizes.
        preparer: the fitted text preparer; its vocabulary is embedded.
        width: D of the result.
    """

    class Config(EmbeddingInput):
        """Options of `text.transformer`."""

        hidden: int = Field(128, ge=2, le=65_536)
        layers: int = Field(2, ge=1, le=128)
        heads: int = Field(4, ge=1, le=128)
        dropout: float = Field(0.1, ge=0.0, lt=1.0)

        @model_validator(mode="after")
        def _heads_divide(self) -> Self:
            if self.hidden % (2 * self.heads):
                raise ValueError(f"hidden ({self.hidden}) must be a multiple of 2 x heads ({2 * self.heads})")
            return self

    modality = "text"

    def __init__(self, config: Config, preparer: VocabPreparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.feature_width = config.hidden
        self.vocab, self.vectors = preparer.vocab, config.vectors
        self.augment = WordDropout(config.word_dropout)
        self.embed = nn.Embedding(len(preparer.vocab), config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.rotary = Rotary(config.hidden // config.heads)
        self.trunk = nn.ModuleList(
            EncoderBlock(config.hidden, config.heads, 4 * config.hidden, config.dropout)
            for _ in range(config.layers)
        )
        self.outlet = Outlet(self.feature_width, width)

    def features(self, token_UT: Tensor, mask_UT: Tensor | None) -> Features:
        """Return contextual vectors (U, T, hidden) and their mask."""
        mask_UT = full_mask(token_UT, mask_UT)
        token_UT = self.augment(token_UT)
        turn = self.rotary.turn(token_UT.shape[1])
        x_UTF = self.dropout(self.embed(token_UT))
        for block in self.trunk:
            x_UTF = block(x_UTF, mask_UT, turn)
        return x_UTF, mask_UT

    def load_pretrained(self) -> Self:
        """Begin with the configured word vectors, if any; returns self.  Raises DataError."""
        load_vectors(self.embed, self.vocab, self.vectors)
        return self

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, T, width)."""
        return encode(self, media)
