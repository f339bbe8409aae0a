"""Frozen encoders run once: their features are data, prepared and cached like any other.

A frozen encoder moves to the other side of the cache: `FeaturePreparer` runs it on one medium at a
time and is keyed by the encoder's weights; `FrozenEncoder` then reads features, and learns only a
projection and the absent token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from sensorium.core.protocols import Preparer
from sensorium.core.types import Encoded, Item, MediaBatch, per_row


class FeaturePreparer:
    """Prepare a medium by its encoder's own preparer, then by the encoder: (T, D) float16."""

    def __init__(self, preparer: Preparer, encoder: Any, name: str) -> None:
        self.preparer = preparer
        self.encoder = encoder.eval().requires_grad_(False)
        self.name = name
        self.modality = preparer.modality

    def item(self, cell: str, folder: Path) -> Item:
        """Read a table cell as the encoder's own preparer does."""
        return self.preparer.item(cell, folder)

    def fit(self, items: Iterable[Item]) -> Self:
        """Fit the encoder's own preparer."""
        self.preparer.fit(items)
        return self

    @torch.no_grad()
    def __call__(self, item: Any) -> Tensor:
        """Encode one medium: (T, D) float16.  Raises MediaError or DataError."""
        values, mask_1T = self.preparer.collate([self.preparer(item)])
        was_training = self.encoder.training
        x_1TD, mask_1T = self.encoder.eval().features(values, mask_1T)
        self.encoder.train(was_training)
        x_TD = x_1TD[0] if mask_1T is None else x_1TD[0][mask_1T[0]]
        return x_TD.to(torch.float16)

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Pad features to one length: (U, T, D) and the mask (U, T)."""
        length = max((len(x_TD) for x_TD in values), default=0)
        mask_UT = torch.zeros(len(values), length, dtype=torch.bool)
        x_UTD = torch.zeros(len(values), length, values[0].shape[1] if values else 1, dtype=torch.float16)
        for u, x_TD in enumerate(values):
            x_UTD[u, : len(x_TD)] = x_TD
            mask_UT[u, : len(x_TD)] = True
        return x_UTD, mask_UT

    @property
    def fingerprint(self) -> str:
        """Name the preparation and the encoder's weights."""
        digest = hashlib.sha256(self.preparer.fingerprint.encode())
        for name, tensor in sorted(self.encoder.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return f"frozen-{digest.hexdigest()[:16]}"

    def save(self, folder: Path) -> None:
        """Save the encoder's own preparer; the weights are saved with the model."""
        self.preparer.save(folder)

    def load(self, folder: Path) -> Self:
        """Load the encoder's own preparer."""
        self.preparer.load(folder)
        return self


class FrozenEncoder(nn.Module):
    """Read cached features (U, T, D) of a frozen encoder; learn a projection and the absent token."""

    def __init__(self, encoder: Any, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.modality: str = encoder.modality
        self.width = width
        self.project = nn.Sequential(nn.LayerNorm(encoder.width), nn.Linear(encoder.width, width))
        self.absent = nn.Parameter(torch.zeros(width))

    def forward(self, media: MediaBatch) -> Encoded:
        """Project features and hand them to their rows: (B, T, width)."""
        if media.values.shape[0] == 0:
            empty = self.absent.new_zeros(0, 1, self.width)
            return per_row(empty, None, media.row_B, self.absent)
        x_UTD = self.project(media.values.to(self.absent.dtype))
        return per_row(x_UTD, media.mask_UT, media.row_B, self.absent)
