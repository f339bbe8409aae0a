"""Frozen encoders run once: their features are data, prepared and cached like any other.

A frozen encoder moves to the other side of the cache: `FeaturePreparer` runs it on a few media at a
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

from sensorium.core.errors import SensoriumError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Encoded, Item, MediaBatch
from sensorium.data.media_policy import obey, policy_of
from sensorium.data.preparation import num_cut
from sensorium.encoders.outlet import Features, Outlet, encode, feature_width_of, features_of
from sensorium.media.policy import MediaPolicy


class FeaturePreparer:
    """Prepare a medium by its encoder's own preparer, then by the encoder: (T, F) float16.

    Args:
        preparer: the encoder's own.
        encoder: what is frozen.
        name: of the input.
        settings: the encoder's options, which change features where weights are the same (a grid, a pooling).
    """

    def __init__(self, preparer: Preparer, encoder: Any, name: str, settings: str = "") -> None:
        self.preparer = preparer
        self.settings = settings
        self.encoder = encoder.eval().requires_grad_(False)
        self.name = name
        self.modality = preparer.modality
        self.were_cut: Sequence[bool] = ()

    @property
    def policy(self) -> MediaPolicy | None:
        """Return what the encoder's own preparer may open; None if it opens nothing."""
        return policy_of(self.preparer)

    @policy.setter
    def policy(self, policy: MediaPolicy) -> None:
        obey([self.preparer], policy)

    @property
    def truncated(self) -> int:
        """Count the media that the encoder's own preparer cut so far, in this process."""
        return num_cut(self.preparer)

    @property
    def hop_ms(self) -> float:
        """The distance of features in time.  Raises AttributeError: the encoder tells none."""
        return float(self.preparer.hop_ms * self.encoder.stride)  # type: ignore[attr-defined]

    def item(self, cell: str, folder: Path) -> Item:
        """Read a table cell as the encoder's own preparer does."""
        return self.preparer.item(cell, folder)

    def fit(self, items: Iterable[Item]) -> Self:
        """Fit the encoder's own preparer."""
        self.preparer.fit(items)
        return self

    def __call__(self, item: Any) -> Tensor:
        """Encode one medium: (T, F) float16.  Raises MediaError or DataError."""
        return self._encoded([self.preparer(item)])[0]

    def together(self, items: Sequence[Any]) -> list[Tensor | SensoriumError]:
        """Encode several media, those of one shape in one go; an error where one cannot be prepared.

        Media of different lengths are not padded to one: not every encoder's features are the same then.
        """
        answers: list[Tensor | SensoriumError] = []
        were_cut = []
        for item in items:
            num_before = num_cut(self.preparer)
            answers.append(_tried(self.preparer, item))
            were_cut.append(num_cut(self.preparer) > num_before)
        self.were_cut = were_cut
        by_shape: dict[torch.Size, list[int]] = {}
        for i, answer in enumerate(answers):
            if isinstance(answer, Tensor):
                by_shape.setdefault(answer.shape, []).append(i)
        for members in by_shape.values():
            values = [answer for i in members if isinstance(answer := answers[i], Tensor)]
            for i, features_TF in zip(members, self._encoded(values), strict=True):
                answers[i] = features_TF
        return answers

    @torch.no_grad()
    def _encoded(self, prepared: Sequence[Tensor]) -> list[Tensor]:
        values, mask_UT = self.preparer.collate(prepared)
        was_training = self.encoder.training
        x_UTF, mask_UT = features_of(self.encoder.eval(), values, mask_UT)
        self.encoder.train(was_training)
        x_UTF = x_UTF.to(torch.float16)
        return [x_TF if mask_UT is None else x_TF[mask_UT[u]] for u, x_TF in enumerate(x_UTF)]

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Pad features to one length: (U, T, F) and the mask (U, T)."""
        length = max((len(x_TF) for x_TF in values), default=0)
        mask_UT = torch.zeros(len(values), length, dtype=torch.bool)
        x_UTF = torch.zeros(len(values), length, values[0].shape[1] if values else 1, dtype=torch.float16)
        for u, x_TF in enumerate(values):
            x_UTF[u, : len(x_TF)] = x_TF
            mask_UT[u, : len(x_TF)] = True
        return x_UTF, mask_UT

    @property
    def fingerprint(self) -> str:
        """Name the preparation, the encoder's options and its weights."""
        digest = hashlib.sha256(f"{self.preparer.fingerprint}\0{self.settings}\0".encode())
        trunk = {n: t for n, t in self.encoder.state_dict().items() if not n.startswith("outlet.")}
        for name, tensor in sorted(trunk.items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return f"frozen-{digest.hexdigest()[:16]}"

    def save(self, folder: Path) -> None:
        """Save the encoder's own preparer; the weights are saved with the model."""
        self.preparer.save(folder)

    def load(self, folder: Path) -> Self:
        """Load the encoder's own preparer."""
        self.preparer.load(folder)
        return self


def _tried(preparer: Preparer, item: Any) -> Tensor | SensoriumError:
    try:
        return preparer(item)
    except SensoriumError as error:
        return error


class WholeEncoder(nn.Module):
    """Read media where a `FrozenEncoder` reads features kept of them: the same function, from the beginning."""

    def __init__(self, frozen: FrozenEncoder) -> None:
        super().__init__()
        self.encoder, self.outlet = frozen.encoder, frozen.outlet
        self.modality, self.width, self.feature_width = frozen.modality, frozen.width, frozen.feature_width
        self.embed = getattr(frozen.encoder, "embed", None)

    def features(self, values: Tensor, mask_UT: Tensor | None) -> Features:
        """Return the frozen encoder's features, rounded as those that are kept."""
        x_UTF, mask_UT = features_of(self.encoder, values, mask_UT)
        return x_UTF.to(torch.float16).float(), mask_UT

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, T, width)."""
        return encode(self, media)


class FrozenEncoder(nn.Module):
    """Read cached features (U, T, F) of a frozen encoder; learn an outlet of its own (projection, absent token)."""

    def __init__(self, encoder: Any, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.modality: str = encoder.modality
        self.width = width
        self.feature_width = feature_width_of(encoder)
        self.outlet = Outlet(self.feature_width, width)

    def features(self, values_UTF: Tensor, mask_UT: Tensor | None) -> Features:
        """Return the cached features as they are, in full precision."""
        return values_UTF.float(), mask_UT

    def forward(self, media: MediaBatch) -> Encoded:
        """Project features and hand them to their rows: (B, T, width)."""
        return encode(self, media)
