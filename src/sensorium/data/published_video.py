"""Clips as the pictures that a published network of clips reads, brought to size by its own image processor.

Enters: `Media`.  Leaves: uint8 (N, 3, H + 1, W): up to N pictures evenly spaced, and beneath each the line that
holds when it appears (`data.time_code`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sensorium.core.errors import DataError
from sensorium.core.types import Item, Media
from sensorium.data.hiding import HiddenPictures
from sensorium.data.preparation import fingerprint_of
from sensorium.data.published_image import PublishedImagePreparer
from sensorium.data.time_code import with_times
from sensorium.media.policy import MediaPolicy
from sensorium.media.video import read_video

_USUAL_FRAMES = 16  # of VideoMAE and others, where a configuration leaves it out


class PublishedVideoPreparer(PublishedImagePreparer):
    """Decode as many pictures of a clip as the network reads; a clip of fewer gives what it has.

    Args:
        source: a folder, or a name on the hub.
        revision: a commit on the hub.
        exact: take the pictures in the middle of equal segments though keyframes would cost less to decode.
        num_frames: how many pictures are read; None = as many as the network says.
        size: side in pixels instead of the published one.
        policy: what may be opened; None = the default caps.

    Attributes:
        num_frames: how many pictures are read, after `fit`.
    """

    modality = "video"
    hiding = HiddenPictures()  # type: ignore[assignment]

    def __init__(
        self,
        source: str,
        revision: str | None = None,
        *,
        exact: bool = True,
        num_frames: int | None = None,
        size: int | None = None,
        policy: MediaPolicy | None = None,
    ) -> None:
        super().__init__(source, revision, size=size, policy=policy)
        self.exact = exact
        self._wanted = num_frames
        self.num_frames = num_frames or _USUAL_FRAMES

    def _settle(self) -> None:
        super()._settle()
        self.num_frames = self._wanted or int(self.published.config.get("num_frames", _USUAL_FRAMES))

    @property
    def frame(self) -> PublishedImagePreparer:
        """Return what prepares one picture for the same network; fitted if this is."""
        frame = PublishedImagePreparer(self.source, self.revision, size=self.size, policy=self.policy)
        if self._published is not None:
            frame._take(self._published)
        return frame

    def __call__(self, item: Item) -> Tensor:
        """Return uint8 (N, 3, H + 1, W), 1 <= N <= num_frames.  Raises MediaError, DataError."""
        if not isinstance(item, Media):
            raise DataError(f"a video input holds clips, not {type(item).__name__}")
        clip = read_video(item, self.policy, num_frames=self.num_frames, exact=self.exact)
        picture_NCHW = np.stack([self._sized(picture_HW3) for picture_HW3 in clip.frame_NHW3[: self.num_frames]])
        return with_times(torch.from_numpy(picture_NCHW), torch.from_numpy(clip.time_N[: self.num_frames]))

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Pad with zeros to (U, N, 3, H + 1, W); mask (U, N) bool."""
        if not values:
            empty = torch.zeros(0, 0, *self._shape, dtype=torch.uint8)
            return empty, torch.zeros(0, 0, dtype=torch.bool)
        length_U = torch.tensor([len(value) for value in values])
        mask_UN = torch.arange(int(length_U.max())) < length_U[:, None]
        return pad_sequence(list(values), batch_first=True), mask_UN

    @property
    def _shape(self) -> tuple[int, int, int]:
        channels, height, width = self.shape_CHW
        return channels, height + 1, width

    def example(self) -> Tensor:
        """Return a clip as the network may be given, (1, N, 3, H, W), without times."""
        return torch.zeros(1, self.num_frames, *self.shape_CHW, dtype=torch.uint8)

    @property
    def fingerprint(self) -> str:
        """Name this preparation.  Raises ModelError before `fit`."""
        chosen = {name: n for name, n in (("num_frames", self._wanted), ("size", self.size)) if n is not None}
        return fingerprint_of("published_video.1", files=self.published.digest, exact=self.exact, **chosen)
