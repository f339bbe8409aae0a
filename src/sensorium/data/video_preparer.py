"""Clips as some square pictures, each with its time.

Enters: `Media`.  Leaves: uint8 (N, 3, S + 1, S): N pictures, RGB, channels first, and beneath each the line that
holds when it appears (`data.time_code`); padded to the longest clip of a batch, with a mask.
Pictures are scaled twice: by FFmpeg to the smallest size that holds the square, then as any image is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.types import Item, Media
from sensorium.data.hiding import HiddenPictures
from sensorium.data.image_preparer import ImagePreparer, Resize
from sensorium.data.preparation import fingerprint_of, media_in
from sensorium.data.time_code import with_times
from sensorium.media.policy import MediaPolicy
from sensorium.media.video import read_video

_LEAST_SIZE = 8


class VideoPreparer:
    """Decode some pictures of a clip and bring each to `size` x `size` pixels.

    Args:
        num_frames: pictures of a clip, evenly spaced; a clip of fewer gives what it has.
        rate_hz: pictures a second instead; None = by number.
        max_frames: with a rate, what comes after so many is left out, and such clips counted in `truncated`.
        exact: take the pictures in the middle of equal segments though keyframes would cost less to decode.
        size: side in pixels.
        resize: how a picture is made square, see `ImagePreparer`.
        policy: what may be opened; None = the default caps.

    Attributes:
        truncated: clips cut so far, in this process.

    Raises:
        ConfigError: a setting out of range.
    """

    modality = "video"
    hiding = HiddenPictures()

    def __init__(
        self,
        *,
        num_frames: int = 8,
        rate_hz: float | None = None,
        max_frames: int = 64,
        exact: bool = False,
        size: int = 64,
        resize: Resize = "stretch",
        policy: MediaPolicy | None = None,
    ) -> None:
        if num_frames < 1 or max_frames < 1:
            raise ConfigError("num_frames and max_frames are at least 1")
        if rate_hz is not None and not 0 < rate_hz <= 1000:
            raise ConfigError(f"rate_hz is {rate_hz}, it has to be above 0 and at most 1000")
        if size < _LEAST_SIZE:
            raise ConfigError(f"pictures of a clip are of {_LEAST_SIZE} pixels or more, not {size}")
        self.frame = ImagePreparer(size=size, resize=resize)
        self.num_frames, self.rate_hz, self.max_frames, self.exact = num_frames, rate_hz, max_frames, exact
        self.policy = policy or MediaPolicy()
        self.truncated = 0

    @property
    def size(self) -> int:
        """Return S, the side of a picture."""
        return self.frame.size

    def item(self, cell: str, folder: Path) -> Item:
        """Read a path relative to `folder`; None where the cell is blank."""
        return media_in(cell, folder)

    def fit(self, items: Iterable[Item]) -> Self:
        """Learn nothing."""
        return self

    def __call__(self, item: Item) -> Tensor:
        """Return uint8 (N, 3, S + 1, S), N >= 1.  Raises MediaError, DataError."""
        if not isinstance(item, Media):
            raise DataError(f"a video input holds clips, not {type(item).__name__}")
        is_rated = self.rate_hz is not None
        clip = read_video(
            item,
            self.policy,
            num_frames=None if is_rated else self.num_frames,
            rate_hz=self.rate_hz,
            max_frames=self.max_frames + 1 if is_rated else None,
            fit=self.size,
            exact=self.exact,
        )
        if is_rated and len(clip.time_N) > self.max_frames:
            self.truncated += 1
        num = self.max_frames if is_rated else self.num_frames
        squares = np.stack([self.frame.resized(picture_HW3) for picture_HW3 in clip.frame_NHW3[:num]])
        picture_NCSS = torch.from_numpy(np.ascontiguousarray(squares.transpose(0, 3, 1, 2)))
        return with_times(picture_NCSS, torch.from_numpy(clip.time_N[:num]))

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Pad with zeros to (U, N, 3, S + 1, S); mask (U, N) bool."""
        if not values:
            empty = torch.zeros(0, 0, 3, self.size + 1, self.size, dtype=torch.uint8)
            return empty, torch.zeros(0, 0, dtype=torch.bool)
        length_U = torch.tensor([len(value) for value in values])
        mask_UN = torch.arange(int(length_U.max())) < length_U[:, None]
        return pad_sequence(list(values), batch_first=True), mask_UN

    @property
    def fingerprint(self) -> str:
        """Name this preparation."""
        chosen = {"rate_hz": self.rate_hz, "max_frames": self.max_frames}
        if self.rate_hz is None:
            chosen = {"num_frames": self.num_frames, "exact": self.exact}
        return fingerprint_of("video.1", size=self.size, resize=self.frame.resize, **chosen)

    def save(self, folder: Path) -> None:
        """Write nothing: nothing was learned."""

    def load(self, folder: Path) -> Self:
        """Read nothing."""
        return self
