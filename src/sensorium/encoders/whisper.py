"""Whisper's encoder (Radford et al. 2022, section 2.2); the defaults are those of "tiny".

Enters: (U, T, 80) log-mel frames, T even and at most 3,000.  Leaves: (U, T / 2, 384), a position every 20 ms.

    x = gelu(conv2(gelu(conv1(mel)))) + sinusoids,   conv2 with a stride of 2,

then blocks that are normalised first, and a LayerNorm
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.config import Section
from sensorium.encoders.self_attention import EncoderBlock


class WhisperSizes(Section):
    """How large the network is; the defaults are those of "tiny"."""

    num_mels: int = Field(80, ge=1)
    hidden: int = Field(384, ge=4)
    layers: int = Field(4, ge=1)
    heads: int = Field(6, ge=1)
    max_positions: int = Field(1500, ge=1)


class WhisperEncoder(nn.Module):
    """The network; no position is padding, since silence is what it was trained on.

    Args:
        sizes: of the network.
    """

    def __init__(self, sizes: WhisperSizes) -> None:
        super().__init__()
        self.width = sizes.hidden
        blocks = (EncoderBlock(sizes.hidden, sizes.heads, 4 * sizes.hidden) for _ in range(sizes.layers))
        self.layers = nn.Sequential(WhisperStem(sizes), *blocks)
        self.norm = nn.LayerNorm(sizes.hidden)

    def forward(self, mel_UTM: Tensor) -> Tensor:
        """Return (U, T / 2, F)."""
        out: Tensor = self.norm(self.layers(mel_UTM))
        return out


class WhisperStem(nn.Module):
    """Two convolutions over time, the second one with a stride of 2, and where each position lies.

    Args:
        sizes: of the network.
    """

    def __init__(self, sizes: WhisperSizes) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(sizes.num_mels, sizes.hidden, 3, padding=1)
        self.conv2 = nn.Conv1d(sizes.hidden, sizes.hidden, 3, stride=2, padding=1)
        self.register_buffer("position_TF", sinusoids(sizes.max_positions, sizes.hidden))
        self.position_TF: Tensor

    def forward(self, mel_UTM: Tensor) -> Tensor:
        """Return (U, T / 2, F)."""
        x_UFT = functional.gelu(self.conv1(mel_UTM.transpose(1, 2)))
        x_UTF = functional.gelu(self.conv2(x_UFT)).transpose(1, 2)
        return x_UTF + self.position_TF[: x_UTF.shape[1]]


def sinusoids(length: int, width: int, longest: float = 10_000.0) -> Tensor:
    """Return (length, width): sines of geometrically falling rates, then their cosines."""
    rate_H = torch.exp(-math.log(longest) / (width // 2 - 1) * torch.arange(width // 2))
    angle_TH = torch.arange(length)[:, None] * rate_H
    return torch.cat([angle_TH.sin(), angle_TH.cos()], dim=1)


def named_as_here(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the encoder's tensors of a CTranslate2 Whisper to this module's, in single precision."""
    parts = {
        "self_attention/layer_norm/gamma": "ln_1.weight",
        "self_attention/layer_norm/beta": "ln_1.bias",
        "self_attention/linear_0/weight": "self_attention.in_proj_weight",
        "self_attention/linear_0/bias": "self_attention.in_proj_bias",
        "self_attention/linear_1/weight": "self_attention.out_proj.weight",
        "self_attention/linear_1/bias": "self_attention.out_proj.bias",
        "ffn/layer_norm/gamma": "ln_2.weight",
        "ffn/layer_norm/beta": "ln_2.bias",
        "ffn/linear_0/weight": "mlp.0.weight",
        "ffn/linear_0/bias": "mlp.0.bias",
        "ffn/linear_1/weight": "mlp.3.weight",
        "ffn/linear_1/bias": "mlp.3.bias",
        "position_encodings/encodings": "layers.0.position_TF",
        "layer_norm/gamma": "norm.weight",
        "layer_norm/beta": "norm.bias",
    }

    def renamed(name: str) -> str:
        if name.startswith("layer_") and name[6].isdigit():
            layer, _, part = name.partition("/")
            return f"layers.{int(layer[6:]) + 1}.{parts.get(part, part)}"
        return parts.get(name, f"layers.0.{name.replace('/', '.')}")

    prefix = "encoder/"
    own = {name.removeprefix(prefix): tensor for name, tensor in published.items() if name.startswith(prefix)}
    return {renamed(name): tensor.float() for name, tensor in own.items() if name != "num_heads"}
