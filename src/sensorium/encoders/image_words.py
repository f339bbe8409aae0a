"""Images as bags of visual words: each patch is named by the nearest code (Csurka et al. 2004)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator
from torch import Tensor

from sensorium.data.codebook_preparer import CodebookPreparer
from sensorium.encoders.code_words import CodeWords, CodeWordsInput
from sensorium.encoders.image_input import ImageInput
from sensorium.encoders.masking import TokenMasking
from sensorium.encoders.text_input import VocabPreparer, token_masking


class ImageWords(CodeWords):
    """Encode an image by the codes of its patches."""

    class Config(ImageInput, CodeWordsInput):
        """Options of `image.words`."""

        size: int = Field(64, ge=8, le=4096)
        patch: int = Field(8, ge=1, le=256)
        """Side of a patch in pixels."""
        stride: int = Field(4, ge=1, le=256)
        """Distance of patches in pixels."""

        @model_validator(mode="after")
        def _patch_fits(self) -> Self:
            if self.patch > self.size:
                raise ValueError(f"a patch of {self.patch} pixels does not fit into {self.size}")
            return self

        def preparer(self) -> CodebookPreparer:  # type: ignore[override]
            """Make the (unfitted) preparer of these images."""
            describe = Patches(self.patch, self.stride)
            return CodebookPreparer(super().preparer(), describe, num_codes=self.codes, max_items=self.fitted_on)

        def masking(self, preparer: VocabPreparer, span: int | None = None) -> TokenMasking:  # type: ignore[override]
            """Say how codes are hidden, one by one.  Raises ConfigError: a `span`."""
            return token_masking(preparer, span)

    modality = "image"


@dataclass(frozen=True)
class Patches:
    """Cut squares of `side` pixels, `stride` pixels apart."""

    side: int
    stride: int

    def __call__(self, image_CHW: Tensor) -> Tensor:
        """Cut uint8 (3, H, W) into patches, row by row: float (T, 3 * side * side), 0..1."""
        windows_CYXSS = image_CHW.unfold(1, self.side, self.stride).unfold(2, self.side, self.stride)
        return windows_CYXSS.permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1).float() / 255
