"""Sparse hand-made features of each token, embedded, added up and read by an LSTM in both directions.

    x_t = LSTM(sum_f E[feature_f(t)])        Huang, Xu and Yu 2015 (BiLSTM-CRF with features), section 3

Enters: (U, T, F) feature ids (`data.token_features`), 0 = unseen.  Leaves: one position a token.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from sensorium.core.recurrence import Recurrence
from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.text_input import full_mask
from sensorium.encoders.text_token_features import FeaturePreparer, FeatureTable, TokenFeaturesInput


class TextTokenFeaturesLSTM(nn.Module):
    """Encode tokens with an LSTM over the sums of their features' vectors: (B, T, width).

    Args:
        config: which features, and sizes.
        preparer: fitted; its features get a vector each.
        width: D of the result.
    """

    class Config(TokenFeaturesInput):
        """Options of `text.token_features_lstm`."""

        embedding: int = Field(128, ge=1, le=65_536)
        hidden: int = Field(256, ge=2, le=65_536, multiple_of=2)
        """Units over both directions together."""
        layers: int = Field(1, ge=1, le=32)
        dropout: float = Field(0.3, ge=0.0, lt=1.0)

    modality = "text"

    def __init__(self, config: Config, preparer: FeaturePreparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.feature_width = config.hidden
        self.table = FeatureTable(preparer.num_features, config.embedding, config.feature_dropout, std=0.1)
        self.dropout = nn.Dropout(config.dropout)
        self.trunk = Recurrence("lstm", config.embedding, config.hidden, config.layers, True, config.dropout)
        self.outlet = Outlet(config.hidden, width)

    def features(self, id_UTF: Tensor, mask_UT: Tensor | None) -> Features:
        """Return the hidden states (U, T, hidden) and their mask."""
        mask_UT = full_mask(id_UTF[..., 0], mask_UT)
        return self.dropout(self.trunk(self.dropout(self.table(id_UTF)), mask_UT)), mask_UT

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, T, width)."""
        return encode(self, media)
