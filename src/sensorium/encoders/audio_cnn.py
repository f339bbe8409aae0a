"""Strided convolutions over time, mel bands as channels (Collobert et al. 2016, wav2letter, on log-mel frames).

Enters: (U, T, num_mels) log-mel frames.  Leaves: a position every 2^stages frames.

Padding is zeroed before every convolution, so a clip's last frame sees the same zeros whatever it is batched with;
normalisation is over the channels of one frame (Ba et al. 2016), because batch statistics would read padding.
"""

from __future__ import annotations

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.protocols import Preparer
from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.audio_augment import AugmentedAudioInput, SpectrumAugment
from sensorium.encoders.audio_input import clean_frames
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.time_embedding import TimeEmbedding


class AudioCNN(nn.Module):
    """Encode sounds with a few convolutions, each of which halves time.

    Args:
        config: sizes.
        preparer: the log-mel preparer (nothing is learned from it).
        width: D of the result.
    """

    class Config(AugmentedAudioInput):
        """Options of `audio.cnn`."""

        channels: tuple[int, ...] = Field((128, 128, 256, 256), min_length=1)
        """Channels after each stage; each stage halves the number of frames."""
        kernel: int = Field(5, ge=1, le=63)
        """Frames each output sees, odd."""
        dropout: float = Field(0.1, ge=0.0, lt=1.0)
        clock: bool = False
        """Add when each position is heard, by the waves that tell when a clip's pictures are seen."""

        @field_validator("kernel")
        @classmethod
        def _odd(cls, kernel: int) -> int:
            if kernel % 2 == 0:
                raise ValueError("a kernel has a middle: choose an odd number")
            return kernel

    modality = "audio"

    def __init__(self, config: Config, preparer: Preparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.feature_width = config.channels[-1]
        self.augment = SpectrumAugment(config)
        ins = (config.num_mels, *config.channels)
        self.trunk = nn.ModuleList(
            Stage(n_in, n_out, config.kernel, config.dropout)
            for n_in, n_out in zip(ins, config.channels, strict=False)
        )
        self.step_s = config.hop_ms / 1000 * 2 ** len(config.channels)
        self.time = TimeEmbedding(self.feature_width) if config.clock else None
        self.outlet = Outlet(self.feature_width, width)

    def features(self, values_UTF: Tensor, mask_UT: Tensor | None) -> Features:
        """Return (U, ceil(T / 2^stages), channels) and the mask."""
        x_UTF, mask_UT = clean_frames(values_UTF, mask_UT, self.outlet.absent_D.dtype)
        x_UTF, mask_UT = self.augment(x_UTF, mask_UT)
        for stage in self.trunk:
            x_UTF, mask_UT = stage(x_UTF, mask_UT)
        if self.time is not None:
            time_1T = self.step_s * torch.arange(x_UTF.shape[1], device=x_UTF.device)[None]
            x_UTF = (x_UTF + self.time(time_1T)) * mask_UT[..., None]
        return x_UTF, mask_UT

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, ceil(T / 2^stages), width)."""
        return encode(self, media)


class Stage(nn.Module):
    """Convolution of stride 2, LayerNorm over channels, GELU, dropout; padding stays zero.

    Args:
        n_in: channels of a frame before.
        n_out: after.
        kernel: frames an output sees, odd.
        dropout: chance that a value is dropped.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(n_in, n_out, kernel, stride=2, padding=kernel // 2)
        self.norm = nn.LayerNorm(n_out)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_UTF: Tensor, mask_UT: Tensor) -> tuple[Tensor, Tensor]:
        """Return (U, ceil(T / 2), n_out) and the mask."""
        y_UTF = self.convolution(x_UTF.transpose(1, 2)).transpose(1, 2)
        mask_UT = mask_UT[:, ::2]
        y_UTF = self.dropout(functional.gelu(self.norm(y_UTF)))
        return y_UTF * mask_UT[..., None], mask_UT
