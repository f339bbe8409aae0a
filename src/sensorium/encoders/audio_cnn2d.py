"""Convolutions over time and frequency, as over an image (Sercu et al. 2016, very deep networks for speech).

Enters: (U, T, num_mels) log-mel frames.  Leaves: a position every 2^time_stages frames.

A filter that is moved along the mel axis knows a formant at any height, hence voices higher and lower than those
it was trained on.  Every stage: convolution, LayerNorm over the channels of one frame and band, ReLU, the largest
of two bands, and in the last `time_stages` stages of two frames.  Padding is zeroed before every convolution, so a
clip's last frame sees the same zeros whatever it is batched with.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.protocols import Preparer
from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.audio_augment import AugmentedAudioInput, SpectrumAugment
from sensorium.encoders.audio_input import clean_frames
from sensorium.encoders.outlet import Features, Outlet, encode


class AudioCNN2d(nn.Module):
    """Encode sounds with convolutions over time and mel bands.

    Args:
        config: sizes.
        preparer: the log-mel preparer (nothing is learned from it).
        width: D of the result.
    """

    class Config(AugmentedAudioInput):
        """Options of `audio.cnn2d`."""

        channels: tuple[int, ...] = Field((24, 48, 64), min_length=1)
        """Channels after each stage; each stage halves the number of bands."""
        time_stages: int = Field(2, ge=0, le=16)
        """How many stages, the last ones, halve the number of frames too."""
        dropout: float = Field(0.1, ge=0.0, lt=1.0)
        """Chance that a channel of a clip is dropped, after each stage."""

        @model_validator(mode="after")
        def _has_the_stages(self) -> Self:
            if self.time_stages > len(self.channels):
                raise ValueError(f"time_stages = {self.time_stages}, but there are {len(self.channels)} stages")
            return self

    modality = "audio"

    def __init__(self, config: Config, preparer: Preparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.augment = SpectrumAugment(config)
        ins, num_bands = (1, *config.channels), config.num_mels
        self.trunk = nn.ModuleList()
        for i, (n_in, n_out) in enumerate(zip(ins, config.channels, strict=False)):
            halves_time = i >= len(config.channels) - config.time_stages
            self.trunk.append(Stage2d(n_in, n_out, config.dropout, halves_time=halves_time))
            num_bands = -(-num_bands // 2)
        self.feature_width = num_bands * config.channels[-1]
        self.outlet = Outlet(self.feature_width, width)

    def features(self, values_UTF: Tensor, mask_UT: Tensor | None) -> Features:
        """Return (U, ceil(T / 2^time_stages), channels * bands left) and the mask."""
        x_UTF, mask_UT = clean_frames(values_UTF, mask_UT, self.outlet.absent_D.dtype)
        x_UTF, mask_UT = self.augment(x_UTF, mask_UT)
        x_UCTF = x_UTF[:, None]
        for stage in self.trunk:
            x_UCTF, mask_UT = stage(x_UCTF, mask_UT)
        return x_UCTF.transpose(1, 2).flatten(2), mask_UT

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, ceil(T / 2^time_stages), width)."""
        return encode(self, media)


class Stage2d(nn.Module):
    """Convolution 3 x 3, LayerNorm over channels, ReLU, maximum of two bands (and frames), dropout of channels.

    Args:
        n_in: channels before.
        n_out: after.
        dropout: chance that a channel is dropped.
        halves_time: the maximum is over two frames as well.
    """

    def __init__(self, n_in: int, n_out: int, dropout: float, *, halves_time: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.norm = nn.LayerNorm(n_out)
        self.dropout = nn.Dropout2d(dropout)
        self.pool = (2 if halves_time else 1, 2)

    def forward(self, x_UCTF: Tensor, mask_UT: Tensor) -> tuple[Tensor, Tensor]:
        """Return (U, n_out, T or ceil(T / 2), ceil(F / 2)) and the mask; padding is zero."""
        y_UTFC = self.norm(self.convolution(x_UCTF).permute(0, 2, 3, 1))
        y_UCTF = functional.relu(y_UTFC * mask_UT[:, :, None, None]).permute(0, 3, 1, 2)
        # Values are 0 or more, so zeros, where a number is odd, never are the larger ones.
        odd = [-size % side for size, side in zip(y_UCTF.shape[2:], self.pool, strict=True)]
        y_UCTF = functional.max_pool2d(functional.pad(y_UCTF, (0, odd[1], 0, odd[0])), self.pool)
        return self.dropout(y_UCTF), mask_UT[:, :: self.pool[0]]
