"""Sparse hand-made features of each token, mapped linearly: the encoder of a classical CRF.

    x_t = sum_f E[feature_f(t)]

Enters: (U, T, F) feature ids (`data.token_features`), 0 = unseen.  Leaves: one position a token.
E has one row a feature; nothing follows it, so a CRF with `project = false` reads its tag scores off x, and E
holds the CRF's own weights (Lafferty, McCallum and Pereira 2001).
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.errors import ConfigError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Encoded, MediaBatch
from sensorium.data.token_features import (
    TAG_WINDOW,
    UNSEEN,
    WORD_WINDOW,
    TokenFeaturesPreparer,
    parse_template,
)
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.text_input import full_mask


class FeaturePreparer(Preparer, Protocol):
    """A preparer that has numbered its features."""

    num_features: int


class TokenFeaturesInput(Section):
    """Which features a token has."""

    templates: tuple[str, ...] = (*WORD_WINDOW, *TAG_WINDOW)
    min_count: int = Field(1, ge=1)
    max_tokens: int = Field(256, ge=1, le=100_000)
    feature_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Chance, in training, that a token lacks a feature."""

    @field_validator("templates")
    @classmethod
    def _readable(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            try:
                parse_template(template)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        if not templates:
            raise ValueError("name one template or more")
        return templates

    def preparer(self) -> TokenFeaturesPreparer:
        """Make the (unfitted) preparer of these features."""
        return TokenFeaturesPreparer(self.templates, min_count=self.min_count, max_tokens=self.max_tokens)


class FeatureTable(nn.Module):
    """One row of weights a feature, added up over a token's features.

    A plain matrix to the optimiser, not an embedding: weight decay is the L2 prior of a feature's weights.
    """

    def __init__(self, num_features: int, width: int, dropout: float, std: float) -> None:
        super().__init__()
        self.weight_VD = nn.Parameter(torch.randn(num_features, width) * std)
        self.dropout = dropout

    def forward(self, id_UTF: Tensor) -> Tensor:
        """Return the sums (U, T, D)."""
        id_NF = id_UTF.flatten(0, 1)
        if self.training and self.dropout:
            is_dropped_NF = torch.rand(id_NF.shape, device=id_NF.device) < self.dropout
            id_NF = torch.where(is_dropped_NF, UNSEEN, id_NF)
        x_ND = F.embedding_bag(id_NF, self.weight_VD, mode="sum", padding_idx=UNSEEN)
        if self.training and self.dropout:
            x_ND = x_ND / (1 - self.dropout)
        x_UTD: Tensor = x_ND.unflatten(0, id_UTF.shape[:2])
        return x_UTD


class TextTokenFeatures(nn.Module):
    """Encode each token as the sum of its features' weights: (B, T, width).

    Args:
        config: which features.
        preparer: fitted; its features get a row of weights each, zero at first.
        width: D of the result.
    """

    class Config(TokenFeaturesInput):
        """Options of `text.token_features`."""

    modality = "text"

    def __init__(self, config: Config, preparer: FeaturePreparer, width: int) -> None:
        super().__init__()
        self.width = self.feature_width = width
        self.table = FeatureTable(preparer.num_features, width, config.feature_dropout, std=0.0)
        self.outlet = Outlet(width, width, norm=False, project=False)

    def features(self, id_UTF: Tensor, mask_UT: Tensor | None) -> Features:
        """Return the sums (U, T, width) and their mask."""
        return self.table(id_UTF), full_mask(id_UTF[..., 0], mask_UT)

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, T, width)."""
        return encode(self, media)
