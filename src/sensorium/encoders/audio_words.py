"""Sounds as bags of acoustic words: each stretch of frames is named by the nearest code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from sensorium.data.codebook_preparer import CodebookPreparer
from sensorium.encoders.audio_input import AudioInput, clean_frames, stack_frames
from sensorium.encoders.code_words import CodeWords, CodeWordsInput
from sensorium.encoders.masking import TokenMasking
from sensorium.encoders.text_input import VocabPreparer, token_masking


class AudioWords(CodeWords):
    """Encode a sound by the codes of its frames."""

    class Config(AudioInput, CodeWordsInput):
        """Options of `audio.words`."""

        stack: int = Field(5, ge=1, le=100)
        """Frames a word."""
        stride: int = Field(2, ge=1, le=100)
        """Distance of words in frames."""

        def preparer(self) -> CodebookPreparer:  # type: ignore[override]
            """Make the (unfitted) preparer of these sounds."""
            describe = Stretches(self.stack, self.stride)
            return CodebookPreparer(super().preparer(), describe, num_codes=self.codes, max_items=self.fitted_on)

        def masking(self, preparer: VocabPreparer, span: int | None = None) -> TokenMasking:  # type: ignore[override]
            """Say how codes are hidden, one by one.  Raises ConfigError: a `span`."""
            return token_masking(preparer, span)

    modality = "audio"


@dataclass(frozen=True)
class Stretches:
    """Lay `stack` frames end to end, every `stride` frames."""

    stack: int
    stride: int

    def __call__(self, frame_TF: Tensor) -> Tensor:
        """Return float (ceil(T / stride), stack * F); zeros after the end."""
        x_1TF, mask_1T = clean_frames(frame_TF[None], None, torch.float32)
        return stack_frames(x_1TF, mask_1T, self.stack, self.stride)[0][0]
