"""Conformer: convolution-augmented Transformer for sound (Gulati et al. 2020).

Enters: (U, T, num_mels) log-mel frames.  Leaves: a position every 4 frames.

    block(x) = LayerNorm(x''' + FF(x''') / 2),   x' = x + FF(x) / 2,   x'' = x' + MHSA(x'),   x''' = x'' + Conv(x'')

Two deviations, for results that no padding changes: LayerNorm stands where the paper has batch normalisation in
the convolution module, and positions are rotary (Su et al. 2021) where it has Transformer-XL's relative ones.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.protocols import Preparer
from sensorium.core.rotary import Rotary
from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.audio_augment import AugmentedAudioInput, SpectrumAugment
from sensorium.encoders.audio_input import clean_frames
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.self_attention import SelfAttention


class AudioConformer(nn.Module):
    """Encode sounds with subsampling by 4 and a stack of Conformer blocks.

    Args:
        config: sizes.
        preparer: the log-mel preparer (nothing is learned from it).
        width: D of the result.
    """

    class Config(AugmentedAudioInput):
        """Options of `audio.conformer`; the defaults are the paper's small model with fewer blocks."""

        hidden: int = Field(144, ge=2, le=65_536)
        layers: int = Field(4, ge=1, le=64)
        heads: int = Field(4, ge=1, le=128)
        kernel: int = Field(31, ge=1, le=255)
        """Positions that the depthwise convolution sees, odd."""
        subsampling: int = Field(32, ge=1, le=1024)
        """Channels of the two strided convolutions in front."""
        dropout: float = Field(0.1, ge=0.0, lt=1.0)

        @model_validator(mode="after")
        def _fits(self) -> Self:
            if self.hidden % (2 * self.heads):
                raise ValueError(f"hidden ({self.hidden}) must be a multiple of 2 x heads ({2 * self.heads})")
            if self.kernel % 2 == 0:
                raise ValueError("a kernel has a middle: choose an odd number")
            return self

    modality = "audio"

    def __init__(self, config: Config, preparer: Preparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.augment = SpectrumAugment(config)
        self.feature_width = config.hidden
        self.subsample = Subsampling(config.num_mels, config.subsampling, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.rotary = Rotary(config.hidden // config.heads)
        self.trunk = nn.ModuleList(
            ConformerBlock(config.hidden, config.heads, config.kernel, config.dropout) for _ in range(config.layers)
        )
        self.outlet = Outlet(self.feature_width, width)

    def features(self, values_UTF: Tensor, mask_UT: Tensor | None) -> Features:
        """Return (U, ceil(T / 4), hidden) and the mask."""
        x_UTF, mask_UT = clean_frames(values_UTF, mask_UT, self.outlet.absent_D.dtype)
        x_UTF, mask_UT = self.augment(x_UTF, mask_UT)
        x_UTF, mask_UT = self.subsample(x_UTF, mask_UT)
        x_UTF = self.dropout(x_UTF)
        turn = self.rotary.turn(x_UTF.shape[1])
        for block in self.trunk:
            x_UTF = block(x_UTF, mask_UT, turn)
        return x_UTF, mask_UT

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, ceil(T / 4), width)."""
        return encode(self, media)


class Subsampling(nn.Module):
    """Two 3x3 convolutions of stride 2 over time and mel bands, then a linear map.

    Args:
        num_mels: bands of a frame.
        channels: of both convolutions.
        width: F of the result.
    """

    def __init__(self, num_mels: int, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, 3, 2, 1)
        self.second = nn.Conv2d(channels, channels, 3, 2, 1)
        self.project = nn.Linear(channels * -(-num_mels // 4), width)

    def forward(self, x_UTF: Tensor, mask_UT: Tensor) -> tuple[Tensor, Tensor]:
        """Return (U, ceil(T / 4), width) and the mask."""
        x_UCTF = x_UTF[:, None]
        for convolution in (self.first, self.second):
            mask_UT = mask_UT[:, ::2]
            x_UCTF = functional.relu(convolution(x_UCTF)) * mask_UT[:, None, :, None]
        return self.project(x_UCTF.transpose(1, 2).flatten(2)), mask_UT


class ConformerBlock(nn.Module):
    """FF / 2, self-attention, convolution, FF / 2, LayerNorm: Gulati et al. 2020, equation 1.

    Args:
        width: F.
        num_heads: heads of the attention.
        kernel: positions that the convolution sees.
        dropout: chance that a value of any branch is dropped.
    """

    def __init__(self, width: int, num_heads: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.feed_forward_in = _feed_forward(width, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, num_heads, dropout)
        self.dropout = nn.Dropout(dropout)
        self.convolution = ConvolutionModule(width, kernel, dropout)
        self.feed_forward_out = _feed_forward(width, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x_UTF: Tensor, mask_UT: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """Return (U, T, F)."""
        x_UTF = x_UTF + 0.5 * self.feed_forward_in(x_UTF)
        x_UTF = x_UTF + self.dropout(self.attention(self.attention_norm(x_UTF), mask_UT, turn))
        x_UTF = x_UTF + self.convolution(x_UTF, mask_UT)
        x_UTF = x_UTF + 0.5 * self.feed_forward_out(x_UTF)
        out_UTF: Tensor = self.norm(x_UTF)
        return out_UTF


def _feed_forward(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, 4 * width),
        nn.SiLU(),
        nn.Dropout(dropout),
        nn.Linear(4 * width, width),
        nn.Dropout(dropout),
    )


class ConvolutionModule(nn.Module):
    """LayerNorm, pointwise, GLU, depthwise, LayerNorm, Swish, pointwise: Gulati et al. 2020, figure 2.

    Args:
        width: F.
        kernel: positions that the depthwise convolution sees, odd.
        dropout: chance that a value is dropped.
    """

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(width)
        self.pointwise_in = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.pointwise_out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_UTF: Tensor, mask_UT: Tensor) -> Tensor:
        """Return (U, T, F); padding is zero where the depthwise convolution looks sideways."""
        gated_UTF = functional.glu(self.pointwise_in(self.norm_in(x_UTF)), dim=-1)
        gated_UTF = torch.where(mask_UT[..., None], gated_UTF, 0)
        y_UTF = self.depthwise(gated_UTF.transpose(1, 2)).transpose(1, 2)
        out_UTF: Tensor = self.dropout(self.pointwise_out(functional.silu(self.norm(y_UTF))))
        return out_UTF
