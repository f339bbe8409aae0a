"""Gated recurrent units over stacked frames (Cho et al. 2014; frame stacking of Sak et al. 2015).

Enters: (U, T, num_mels) log-mel frames.  Leaves: a position every `stride` frames.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from sensorium.core.protocols import Preparer
from sensorium.core.recurrence import Recurrence
from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.audio_augment import AugmentedAudioInput, SpectrumAugment
from sensorium.encoders.audio_input import clean_frames, stack_frames
from sensorium.encoders.outlet import Features, Outlet, encode


class AudioGRU(nn.Module):
    """Encode sounds with a GRU; fewer, wider steps make it fast and its gradients short.

    Args:
        config: sizes.
        preparer: the log-mel preparer (nothing is learned from it).
        width: D of the result.
    """

    class Config(AugmentedAudioInput):
        """Options of `audio.gru`."""

        stack: int = Field(8, ge=1, le=256)
        """Frames in a window."""
        stride: int = Field(8, ge=1, le=256)
        """Frames from one window to the next."""
        hidden: int = Field(256, ge=2, le=65_536, multiple_of=2)
        """Units over both directions together."""
        layers: int = Field(2, ge=1, le=32)
        bidirectional: bool = True
        dropout: float = Field(0.1, ge=0.0, lt=1.0)

    modality = "audio"

    def __init__(self, config: Config, preparer: Preparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.augment = SpectrumAugment(config)
        self.stack, self.stride = config.stack, config.stride
        self.feature_width = config.hidden
        self.embed = nn.Sequential(
            nn.Linear(config.stack * config.num_mels, config.hidden), nn.LayerNorm(config.hidden), nn.ReLU()
        )
        self.trunk = Recurrence(
            "gru", config.hidden, config.hidden, config.layers, config.bidirectional, config.dropout
        )
        self.outlet = Outlet(self.feature_width, width)

    def features(self, values_UTF: Tensor, mask_UT: Tensor | None) -> Features:
        """Return (U, ceil(T / stride), hidden) and the mask."""
        x_UTF, mask_UT = clean_frames(values_UTF, mask_UT, self.outlet.absent_D.dtype)
        x_UTF, mask_UT = self.augment(x_UTF, mask_UT)
        window_UTF, mask_UT = stack_frames(x_UTF, mask_UT, self.stack, self.stride)
        return self.trunk(self.embed(window_UTF), mask_UT), mask_UT

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, ceil(T / stride), width)."""
        return encode(self, media)
