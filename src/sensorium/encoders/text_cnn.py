"""Convolutions of several widths over word vectors, and the largest response of each (Kim 2014, equations 1-4).

Enters: (U, T) int64 token ids.  Leaves: one position a text,

    x = [max_t relu(W_w E[token_{t:t+w}] + b_w)]     for every width w of `kernels`

A window counts if it holds at least one real token, so the first and last words stand in as many windows as
the others, and padding never changes the result.
"""

from __future__ import annotations

from typing import Annotated, Self, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.text_input import EmbeddingInput, VocabPreparer, WordDropout, full_mask, load_vectors

Kernel = Annotated[int, Field(ge=1, le=64)]


class TextCNN(nn.Module):
    """Encode a text by which short patterns of words stand anywhere in it.

    Args:
        config: sizes.
        preparer: the fitted text preparer; its vocabulary is embedded.
        width: D of the result.
    """

    class Config(EmbeddingInput):
        """Options of `text.cnn`."""

        embedding: int = Field(128, ge=1, le=65_536)
        channels: int = Field(100, ge=1, le=65_536)
        """Patterns of each width."""
        kernels: tuple[Kernel, ...] = Field((3, 4, 5), min_length=1)
        """Widths of the patterns, in tokens."""
        dropout: float = Field(0.5, ge=0.0, lt=1.0)
        """Of the responses."""
        embedding_dropout: float = Field(0.0, ge=0.0, lt=1.0)
        """Of the numbers of a word's vector."""

    modality = "text"

    def __init__(self, config: Config, preparer: VocabPreparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.feature_width = config.channels * len(config.kernels)
        self.vocab, self.vectors = preparer.vocab, config.vectors
        self.augment = WordDropout(config.word_dropout)
        self.embed = nn.Embedding(len(preparer.vocab), config.embedding)
        nn.init.uniform_(self.embed.weight, -0.25, 0.25)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.trunk = nn.ModuleList(
            nn.Conv1d(config.embedding, config.channels, kernel) for kernel in config.kernels
        )
        self.dropout = nn.Dropout(config.dropout)
        self.outlet = Outlet(self.feature_width, width, norm=False)

    def features(self, token_UT: Tensor, mask_UT: Tensor | None) -> Features:
        """Return the largest responses (U, 1, channels * kernels), and (U, 1) whether a text has any token."""
        mask_UT = full_mask(token_UT, mask_UT)
        token_UT = self.augment(token_UT)
        x_UTF = self.embedding_dropout(self.embed(token_UT)) * mask_UT[..., None]
        peak_UF = torch.cat([largest_response(cast(nn.Conv1d, conv), x_UTF, mask_UT) for conv in self.trunk], 1)
        return self.dropout(peak_UF)[:, None], mask_UT.any(1, keepdim=True)

    def load_pretrained(self) -> Self:
        """Begin with the configured word vectors, if any; returns self.  Raises DataError."""
        load_vectors(self.embed, self.vocab, self.vectors)
        return self

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, 1, width)."""
        return encode(self, media)


def largest_response(convolution: nn.Conv1d, x_UTF: Tensor, mask_UT: Tensor) -> Tensor:
    """Return max_t relu(convolution) over the windows with a real token, (U, channels); 0 without any.

    Args:
        x_UTF: zero where `mask_UT` is False.
    """
    (kernel,) = convolution.kernel_size
    around = (kernel - 1, kernel - 1)
    y_UCT = functional.relu(convolution(functional.pad(x_UTF.transpose(1, 2), around)))
    # relu is at least 0, so a window of padding alone is put out by 0.
    is_real_UT = functional.max_pool1d(functional.pad(mask_UT.to(y_UCT.dtype), around)[:, None], kernel, stride=1)
    return (y_UCT * is_real_UT).amax(2)
