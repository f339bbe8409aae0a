"""How places of prepared values are hidden: pixels, frames, tokens, pictures of a clip.

Enters: prepared values (U, ...) of an input.  Leaves: what each place looks like when it says nothing; the places
lie along some axes of the values.  A preparer names one of these as its `hiding` (`core.protocols.Hiding`), and
that is all that explanations know of modalities.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.core.vocabulary import UNK


@dataclass(frozen=True)
class HiddenPixels:
    """Pixels of images (U, C, H, W), hidden by the picture's mean colour (Zeiler and Fergus 2014: by grey)."""

    axes: tuple[int, ...] = (2, 3)
    is_continuous: bool = True
    scales: tuple[int, ...] = (1, 2, 4)
    picture: str = "overlay"

    def blank(self, values_UCHW: Tensor) -> Tensor:
        """Return the mean colour of each image at every pixel, float (U, C, H, W)."""
        return values_UCHW.float().mean((2, 3), keepdim=True).expand(values_UCHW.shape)

    def tile(self, length: int) -> int:
        """Return an eighth of a side."""
        return max(1, round(length / 8))


@dataclass(frozen=True)
class HiddenFrames:
    """Frames of sounds (U, T, F), hidden by the clip's mean frame: a hum without words."""

    axes: tuple[int, ...] = (1,)
    is_continuous: bool = True
    scales: tuple[int, ...] = (1, 2, 4)
    picture: str = "spectrogram"

    def blank(self, values_UTF: Tensor) -> Tensor:
        """Return the mean frame of each clip at every frame, float (U, T, F)."""
        return values_UTF.float().mean(1, keepdim=True).expand(values_UTF.shape)

    def tile(self, length: int) -> int:
        """Return a 24th of the clip."""
        return max(1, round(length / 24))


@dataclass(frozen=True)
class HiddenTokens:
    """Tokens of texts (U, T), hidden as words that nobody knows: UNK."""

    axes: tuple[int, ...] = (1,)
    is_continuous: bool = False
    scales: tuple[int, ...] = (1,)
    picture: str = "words"
    unknown: int = UNK

    def blank(self, token_UT: Tensor) -> Tensor:
        """Return UNK at every place, (U, T) int64."""
        return torch.full_like(token_UT, self.unknown)

    def tile(self, length: int) -> int:
        """Return one token."""
        return 1


@dataclass(frozen=True)
class HiddenPictures:
    """Pictures of clips (U, N, 3, S + 1, S), hidden by the clip's mean picture: nothing moves.

    The line beneath each picture holds its time (see `data.time_code`), which stays.
    """

    axes: tuple[int, ...] = (1,)
    is_continuous: bool = True
    scales: tuple[int, ...] = (1, 2)
    picture: str = "strip"

    def blank(self, values_UNCHW: Tensor) -> Tensor:
        """Return the mean picture of each clip at every picture, float."""
        blank = values_UNCHW.float().clone()
        blank[..., :-1, :] = blank[..., :-1, :].mean(1, keepdim=True)
        return blank

    def tile(self, length: int) -> int:
        """Return one picture."""
        return 1
