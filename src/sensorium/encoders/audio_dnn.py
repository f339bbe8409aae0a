"""A deep network over stacked frames (Hinton et al. 2012, the acoustic model of hybrid speech recognition).

Enters: (U, T, num_mels) log-mel frames.  Leaves: a position every `stride` frames, each from `stack` frames.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from sensorium.core.protocols import Preparer
from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.audio_augment import AugmentedAudioInput, SpectrumAugment
from sensorium.encoders.audio_input import clean_frames, stack_frames
from sensorium.encoders.outlet import Features, Outlet, encode


class AudioDNN(nn.Module):
    """Encode sounds window by window, each by itself.

    Args:
        config: sizes.
        preparer: the log-mel preparer (nothing is learned from it).
        width: D of the result.
    """

    class Config(AugmentedAudioInput):
        """Options of `audio.dnn`."""

        stack: int = Field(16, ge=1, le=256)
        """Frames in a window."""
        stride: int = Field(8, ge=1, le=256)
        """Frames from one window to the next."""
        hidden: int = Field(256, ge=1, le=65_536)
        layers: int = Field(3, ge=1, le=64)
        dropout: float = Field(0.1, ge=0.0, lt=1.0)

    modality = "audio"

    def __init__(self, config: Config, preparer: Preparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.augment = SpectrumAugment(config)
        self.stack, self.stride = config.stack, config.stride
        self.feature_width = config.hidden
        ins = [config.stack * config.num_mels, *[config.hidden] * (config.layers - 1)]
        layers = [_layer(n, config.hidden, config.dropout) for n in ins]
        self.trunk = nn.Sequential(*layers)
        self.outlet = Outlet(self.feature_width, width)

    def features(self, values_UTF: Tensor, mask_UT: Tensor | None) -> Features:
        """Return (U, ceil(T / stride), hidden) and the mask."""
        x_UTF, mask_UT = clean_frames(values_UTF, mask_UT, self.outlet.absent_D.dtype)
        x_UTF, mask_UT = self.augment(x_UTF, mask_UT)
        window_UTF, mask_UT = stack_frames(x_UTF, mask_UT, self.stack, self.stride)
        return self.trunk(window_UTF), mask_UT

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, ceil(T / stride), width)."""
        return encode(self, media)


def _layer(n_in: int, n_out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, n_out), nn.LayerNorm(n_out), nn.ReLU(inplace=True), nn.Dropout(dropout))
