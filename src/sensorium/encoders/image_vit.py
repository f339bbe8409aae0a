"""Vision Transformer (Dosovitskiy et al. 2021); the defaults are ViT-B/16.

Enters: (U, 3, S, S) uint8.  Leaves: the class token, then a position a patch: 1 + (S / P)² positions.
Parameter names are torchvision's, so that published weights load; weights of another picture size load too, their
position embedding resampled (section 3.2 of the paper: "2D interpolation").
"""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.protocols import Preparer
from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.image_augment import AugmentedImageInput, ImageAugment
from sensorium.encoders.image_input import Normalise, to_positions
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.pretrained import assign, read_weights
from sensorium.encoders.self_attention import EncoderBlock

POSITIONS = "encoder.pos_embedding"


class ImageViT(nn.Module):
    """Encode images patch by patch with self-attention.

    Args:
        config: sizes.
        preparer: the image preparer (nothing is learned from it).
        width: D of the result.
    """

    class Config(AugmentedImageInput):
        """Options of `image.vit`."""

        size: int = Field(224, ge=8, le=4096)
        patch: int = Field(16, ge=1, le=1024)
        hidden: int = Field(768, ge=1, le=65_536)
        layers: int = Field(12, ge=1, le=128)
        heads: int = Field(12, ge=1, le=128)
        mlp: int = Field(3072, ge=1, le=262_144)
        dropout: float = Field(0.0, ge=0.0, lt=1.0)
        weights: Path | None = None
        """A file of published weights for the trunk; see `load_pretrained`."""

        @model_validator(mode="after")
        def _divides(self) -> Self:
            if self.size % self.patch:
                raise ValueError(f"size ({self.size}) must be a multiple of patch ({self.patch})")
            if self.hidden % self.heads:
                raise ValueError(f"hidden ({self.hidden}) must be a multiple of heads ({self.heads})")
            return self

    modality = "image"

    def __init__(self, config: Config, preparer: Preparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.weights = config.weights
        self.augment = ImageAugment(config)
        self.normalise = Normalise()
        self.trunk = ViT(config)
        self.feature_width = config.hidden
        self.outlet = Outlet(self.feature_width, width)

    def load_pretrained(self) -> Self:
        """Load the configured weights, if any, into the trunk; returns self.  Raises ModelError."""
        if self.weights is not None:
            found = read_weights(self.weights)
            if POSITIONS in found:
                found[POSITIONS] = resample_positions(found[POSITIONS], self.trunk.encoder.pos_embedding.shape[1])
            assign(self.trunk, found, where=str(self.weights), heads=["heads."])
        return self

    def features(self, values_UCHW: Tensor, mask_UT: Tensor | None = None) -> Features:
        """Return (U, 1 + patches, hidden) and None: every position is real."""
        return self.trunk.tokens(self.normalise(self.augment(values_UCHW))), None

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, 1 + patches, width)."""
        return encode(self, media)


class ViT(nn.Module):
    """The network itself, with a classifier only if `num_classes` is given.

    Args:
        config: sizes.
        num_classes: outputs of the classifier `heads.head`.
    """

    def __init__(self, config: ImageViT.Config, num_classes: int | None = None) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, config.hidden, config.patch, config.patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.hidden))
        self.encoder = _Encoder(config)
        head = None if num_classes is None else nn.Linear(config.hidden, num_classes)
        self.heads = None if head is None else nn.Sequential(OrderedDict(head=head))
        fan_in = 3 * config.patch**2
        nn.init.trunc_normal_(self.conv_proj.weight, std=math.sqrt(1 / fan_in))
        nn.init.zeros_(self.conv_proj.bias)  # type: ignore[arg-type]

    def tokens(self, x_UCHW: Tensor) -> Tensor:
        """Return the class token and the patches (U, 1 + patches, hidden)."""
        patch_UTF = to_positions(self.conv_proj(x_UCHW))
        first_UTF = self.class_token.expand(len(patch_UTF), -1, -1)
        out: Tensor = self.encoder(torch.cat([first_UTF.to(patch_UTF.dtype), patch_UTF], dim=1))
        return out

    def forward(self, x_UCHW: Tensor) -> Tensor:
        """Return the class token (U, hidden), or class scores where there is a classifier."""
        x_UF = self.tokens(x_UCHW)[:, 0]
        return x_UF if self.heads is None else self.heads(x_UF)


class _Encoder(nn.Module):
    def __init__(self, config: ImageViT.Config) -> None:
        super().__init__()
        num_positions = 1 + (config.size // config.patch) ** 2
        self.pos_embedding = nn.Parameter(torch.randn(1, num_positions, config.hidden) * 0.02)
        self.dropout = nn.Dropout(config.dropout)
        blocks = {
            f"encoder_layer_{i}": EncoderBlock(config.hidden, config.heads, config.mlp, config.dropout, eps=1e-6)
            for i in range(config.layers)
        }
        self.layers = nn.Sequential(OrderedDict(blocks))
        self.ln = nn.LayerNorm(config.hidden, eps=1e-6)

    def forward(self, x_UTF: Tensor) -> Tensor:
        x_UTF = self.layers(self.dropout(x_UTF + self.pos_embedding))
        out: Tensor = self.ln(x_UTF)
        return out


def resample_positions(embedding_1TF: Tensor, num_positions: int) -> Tensor:
    """Resample the grid of a position embedding, the class token's kept; unchanged where it is no square grid."""
    old, new = math.isqrt(embedding_1TF.shape[1] - 1), math.isqrt(num_positions - 1)
    if old == new or old * old != embedding_1TF.shape[1] - 1:
        return embedding_1TF
    grid_1FHW = embedding_1TF[:, 1:].transpose(1, 2).reshape(1, -1, old, old)
    resized_1FHW = functional.interpolate(grid_1FHW, (new, new), mode="bicubic", antialias=new < old)
    return torch.cat([embedding_1TF[:, :1], to_positions(resized_1FHW)], dim=1)
