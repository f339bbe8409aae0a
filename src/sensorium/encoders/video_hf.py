"""Clips through any network of clips that transformers knows: VideoMAE, TimeSformer, ...

Enters: (U, N, 3, H + 1, W) uint8, pictures and their times.  Leaves: the network's positions (patches of space and
time); a clip of fewer pictures than the network reads ends in its last one, repeated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sensorium.data.published_video import PublishedVideoPreparer
from sensorium.encoders.image_hf import ImageHF
from sensorium.encoders.outlet import Features
from sensorium.encoders.published_input import PublishedInput
from sensorium.encoders.video_input import pictures_and_times


class VideoHF(ImageHF):
    """Encode clips with a published network; scaling and normalising are its first step here."""

    class Config(PublishedInput):
        """Options of `video.hf`."""

        exact: bool = True
        """Read pictures from the middle of equal segments, though keyframes are read faster."""

        def preparer(self) -> PublishedVideoPreparer:
            """Make the (unfitted) preparer of these clips."""
            return PublishedVideoPreparer(self.source, self.revision, exact=self.exact)

    modality = "video"

    def _configure(self, preparer: PublishedVideoPreparer) -> None:  # type: ignore[override]
        super()._configure(preparer)
        self.num_frames = preparer.num_frames

    def features(self, values: Tensor, mask_UN: Tensor | None = None) -> Features:
        """Return hidden states (U, T, F) and None: every position is real."""
        picture_UNCHW, _, mask_UN = pictures_and_times(values, mask_UN)
        place_N = torch.arange(self.num_frames, device=values.device)
        from_UN = torch.minimum(place_N, mask_UN.sum(1, keepdim=True) - 1).clamp_min(0)
        row_U1 = torch.arange(len(values), device=values.device)[:, None]
        return super().features(picture_UNCHW[row_U1, from_UN])
