"""The last step of every encoder: from its own features to rows of the model's width.

Enters: features (U, T, F) of the distinct media of a batch, and which row uses which.
Leaves: Encoded (B, T, D).  What depends on the model around it (width, absent token) is here; what depends
on the medium alone is the encoder's `features`, so a frozen encoder's features can be kept on disk.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from sensorium.core.types import Encoded, MediaBatch, per_row

Features = tuple[Tensor, Tensor | None]
"""(U, T, F) features, and their mask (U, T) or None where all are real."""


class Outlet(nn.Module):
    """Project features to the model's width and hand them to their rows.

    x = W norm(f) + b + position, norm a LayerNorm (features of a strange scale, such as those of a
    published network, then need no scaling).

    Args:
        feature_width: F.
        width: D.
        num_positions: how many learned position vectors to add; 0 where order is already in the features.
        norm: normalise the features first.
        project: map them by W and b; without, F = D.
    """

    def __init__(
        self, feature_width: int, width: int, *, num_positions: int = 0, norm: bool = True, project: bool = True
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(feature_width) if norm else nn.Identity()
        self.project = nn.Linear(feature_width, width) if project else nn.Identity()
        self.absent_D = nn.Parameter(torch.randn(width) * 0.5)
        self.position_TD = nn.Parameter(torch.randn(num_positions, width) * 0.02) if num_positions else None

    def forward(self, x_UTF: Tensor, mask_UT: Tensor | None, row_B: Tensor) -> Encoded:
        """Return (B, T, D).  A medium without one real position (an empty text) says nothing: it is absent."""
        return self.handed(self.positions(x_UTF), mask_UT, row_B)

    def positions(self, x_UTF: Tensor) -> Tensor:
        """Return what does not depend on rows: (U, T, D)."""
        x_UTD: Tensor = self.project(self.norm(x_UTF))
        return x_UTD if self.position_TD is None else x_UTD + self.position_TD

    def handed(self, x_UTD: Tensor, mask_UT: Tensor | None, row_B: Tensor) -> Encoded:
        """Hand positions to the rows that use their medium: (B, T, D)."""
        if mask_UT is not None:
            row_B = torch.where(mask_UT.any(1)[row_B.clamp_min(0)], row_B, -1)
        return per_row(x_UTD, mask_UT, row_B, self.absent_D)

    def none(self, row_B: Tensor) -> Encoded:
        """Return the absent token for every row: (B, 1, D)."""
        return per_row(self.absent_D.new_zeros(0, 1, len(self.absent_D)), None, row_B, self.absent_D)


@runtime_checkable
class FeatureEncoder(Protocol):
    """An encoder in two steps, as all of ours are; one that keeps the contract alone may lack them."""

    feature_width: int
    outlet: Outlet

    def features(self, values: Tensor, mask_UT: Tensor | None) -> Features:
        """Compute what depends on the media alone."""
        ...


def encode(encoder: FeatureEncoder, media: MediaBatch) -> Encoded:
    """Run `features`, then `outlet`; a batch without media skips the first."""
    if media.values.numel() == 0:
        return encoder.outlet.none(media.row_B)
    x_UTF, mask_UT = encoder.features(media.values, media.mask_UT)
    encoded: Encoded = encoder.outlet(x_UTF, mask_UT, media.row_B)
    return encoded


def features_of(encoder: Any, values: Tensor, mask_UT: Tensor | None) -> Features:
    """Return what an encoder says of media alone: its features, or else what it hands to one row each.

    Args:
        encoder: any that keeps the contract.
    """
    if isinstance(encoder, FeatureEncoder):
        return encoder.features(values, mask_UT)
    encoded: Encoded = encoder(MediaBatch(values, mask_UT, row_B=torch.arange(len(values))))
    return encoded.x_BTD, encoded.mask_BT


def feature_width_of(encoder: Any) -> int:
    """Return F of `features_of`."""
    return encoder.feature_width if isinstance(encoder, FeatureEncoder) else int(encoder.width)
