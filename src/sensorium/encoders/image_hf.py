"""Images through any image network that transformers knows: ViT, ResNet, ConvNeXt, CLIP, SigLIP, DINOv2, Swin, ...

Enters: (U, 3, H, W) uint8, at the size of the network's own processor.  Leaves: one position a patch or place of the
last grid, with what else the network puts before them (a class token), or one position an image.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from sensorium.data.published_image import PublishedImagePreparer
from sensorium.encoders.outlet import Features
from sensorium.encoders.published_input import PublishedEncoder, PublishedInput


class ImageHF(PublishedEncoder):
    """Encode images with a published network; scaling and normalising are its first step here."""

    class Config(PublishedInput):
        """Options of `image.hf`."""

        size: int | None = Field(None, ge=8, le=4096)
        """Side in pixels instead of the published one."""

        def preparer(self) -> PublishedImagePreparer:
            """Make the (unfitted) preparer of these images."""
            return PublishedImagePreparer(self.source, self.revision, size=self.size)

    modality = "image"
    part = "vision_config"
    reads = ("pixel_values",)

    def _configure(self, preparer: PublishedImagePreparer) -> None:
        mean_C, std_C = torch.tensor(preparer.mean_C), torch.tensor(preparer.std_C)
        self.register_buffer("scale_C11", (preparer.rescale / std_C)[:, None, None], persistent=False)
        self.register_buffer("shift_C11", (-mean_C / std_C)[:, None, None], persistent=False)
        self.scale_C11: Tensor
        self.shift_C11: Tensor
        # Position vectors of a network for another size are stretched by itself, where it can.
        can_stretch = "interpolate_pos_encoding" in inspect.signature(self.network.forward).parameters
        self.stretched = {"interpolate_pos_encoding": True} if can_stretch and self.options.size else {}  # type: ignore[attr-defined]

    def _arguments(self, values: Tensor) -> Mapping[str, Any]:
        pixels_UCHW = torch.addcmul(self.shift_C11, values.to(self.scale_C11.dtype), self.scale_C11)
        return {"pixel_values": pixels_UCHW, **self.stretched}

    def features(self, values_UCHW: Tensor, mask_UT: Tensor | None = None) -> Features:
        """Return hidden states (U, T, F) and None: every position is real."""
        output = self._run(self.network, self._arguments(values_UCHW))
        return self._pooled(output, self._state(output), None)
