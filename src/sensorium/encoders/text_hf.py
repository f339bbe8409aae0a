"""Texts through any text network that transformers knows: BERT, RoBERTa, GPT-2, Llama, T5's encoder, ...

Enters: (U, T) int64 ids of the network's own tokenizer.  Leaves: one position a token, or one a text.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from sensorium.data.published_text import PublishedTextPreparer
from sensorium.encoders.outlet import Features
from sensorium.encoders.published_input import PublishedEncoder, PublishedInput
from sensorium.encoders.text_input import full_mask


class TextHF(PublishedEncoder):
    """Encode texts with a published network; padding is masked."""

    class Config(PublishedInput):
        """Options of `text.hf`."""

        max_tokens: int = Field(64, ge=1, le=100_000)

        def preparer(self) -> PublishedTextPreparer:
            """Make the (unfitted) preparer of these texts."""
            return PublishedTextPreparer(self.source, self.revision, max_tokens=self.max_tokens)

    modality = "text"
    part = "text_config"
    reads = ("input_ids",)

    def _arguments(self, values: Tensor) -> Mapping[str, Tensor]:
        return {"input_ids": values}

    def features(self, token_UT: Tensor, mask_UT: Tensor | None) -> Features:
        """Return hidden states (U, T, F) and their mask."""
        mask_UT = full_mask(token_UT, mask_UT)
        output = self._run(self.network, {"input_ids": token_UT, "attention_mask": mask_UT.long()})
        return self._pooled(output, self._state(output), mask_UT)
