"""Make each training picture look like another one of the same things: nearer, mirrored, in another light.

Enters: (U, 3, S, S) uint8, in training.  Leaves: the same pictures, each changed by its own draw, uint8 again;
outside training they pass untouched.  In this order:

    crop     a square of (1 - c)..1 times the side, anywhere, brought back to S (Szegedy et al. 2015, section 6)
    flip     left and right exchanged in one of two pictures; not for text, digits or "left of"
    colour   brightness, contrast and saturation each scaled by 1 +- colour (Howard 2013; Chen et al. 2020, SimCLR,
             appendix A, without hue: a question may ask for it)

Draws come from torch's generator, whose state a checkpoint holds: a resumed run goes on with the same ones.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.types import MediaBatch
from sensorium.encoders.image_input import ImageInput

LUMA_RGB = (0.299, 0.587, 0.114)  # ITU-R BT.601


class AugmentedImageInput(ImageInput):
    """How an image is prepared, and how training changes it; all changes are off by default."""

    crop: float = Field(0.0, ge=0.0, le=0.9)
    """In training, cut up to this share of the side away, anywhere."""
    flip: bool = False
    """In training, exchange left and right in one of two pictures."""
    colour: float = Field(0.0, ge=0.0, le=0.9)
    """In training, scale brightness, contrast and saturation by up to this share."""

    @property
    def augments(self) -> bool:
        """Say whether training changes anything."""
        return self.crop > 0 or self.flip or self.colour > 0


class ImageAugment(nn.Module):
    """Change pictures in training, each by its own draw; nothing outside training.

    Args:
        options: how much.
    """

    def __init__(self, options: AugmentedImageInput) -> None:
        super().__init__()
        self.options = options

    def forward(self, values_UCHW: Tensor) -> Tensor:
        """Return (U, 3, S, S) uint8."""
        return self.changed(values_UCHW) if self.training else values_UCHW

    def media(self, media: MediaBatch) -> MediaBatch:
        """Return pictures changed as in training."""
        return replace(media, values=self.changed(media.values))

    def changed(self, values_UCHW: Tensor) -> Tensor:
        """Change every picture; see the module."""
        options, num, device = self.options, len(values_UCHW), values_UCHW.device
        if not options.augments or not num:
            return values_UCHW
        x_UCHW = values_UCHW.float()
        if options.crop or options.flip:
            side_U = 1 - options.crop * torch.rand(num, device=device)
            shift_U2 = (1 - side_U)[:, None] * (2 * torch.rand(num, 2, device=device) - 1)
            mirrored_U = (torch.rand(num, device=device) < 0.5) & options.flip
            x_UCHW = cropped(x_UCHW, side_U, shift_U2, mirrored_U)
        if options.colour:
            x_UCHW = jittered(x_UCHW, 1 + options.colour * (2 * torch.rand(3, num, device=device) - 1))
        return x_UCHW.round().clamp(0, 255).to(values_UCHW.dtype)


def cropped(x_UCHW: Tensor, side_U: Tensor, shift_U2: Tensor, mirrored_U: Tensor) -> Tensor:
    """Cut a square out of each picture and bring it back to the picture's size, between pixels by straight lines.

    Args:
        x_UCHW: (U, C, S, S) float.
        side_U: (U,) of the square, as a share of S.
        shift_U2: (U, 2) of the square's middle from the picture's, to the right and down, in halves of S.
        mirrored_U: (U,) bool, left and right exchanged.
    """
    scale_U2 = torch.stack([torch.where(mirrored_U, -side_U, side_U), side_U], dim=1)
    theta_U23 = torch.cat([torch.diag_embed(scale_U2), shift_U2[..., None]], dim=2)
    grid_UHW2 = functional.affine_grid(theta_U23, list(x_UCHW.shape), align_corners=False)
    return functional.grid_sample(x_UCHW, grid_UHW2, padding_mode="border", align_corners=False)


def jittered(x_UCHW: Tensor, factor_3U: Tensor) -> Tensor:
    """Scale brightness (from black), contrast (from the picture's mean grey) and saturation (from each grey).

    Args:
        x_UCHW: (U, 3, S, S) float, 0..255.
        factor_3U: (3, U), 1 = as it is.
    """
    brightness_U111, contrast_U111, saturation_U111 = factor_3U[..., None, None, None]
    x_UCHW = (x_UCHW * brightness_U111).clamp(0, 255)
    x_UCHW = torch.lerp(grey(x_UCHW).mean((2, 3), keepdim=True).expand_as(x_UCHW), x_UCHW, contrast_U111)
    x_UCHW = x_UCHW.clamp(0, 255)
    return torch.lerp(grey(x_UCHW).expand_as(x_UCHW), x_UCHW, saturation_U111).clamp(0, 255)


def grey(x_UCHW: Tensor) -> Tensor:
    """Return the luma of each pixel, (U, 1, H, W)."""
    weight_C11 = torch.tensor(LUMA_RGB, device=x_UCHW.device, dtype=x_UCHW.dtype)[:, None, None]
    return (x_UCHW * weight_C11).sum(1, keepdim=True)
