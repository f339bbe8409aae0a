"""Texts through a network that Keras saved.

Enters: (U, T) int64 ids of the vocabulary that the network was trained with.  Leaves: one position a token, or one
a text.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from torch import Tensor

from sensorium.data.keras_text import Cleaning, KerasTextPreparer, Side
from sensorium.encoders.keras_input import KerasEncoder, KerasInput
from sensorium.encoders.outlet import Features


class TextKeras(KerasEncoder):
    """Encode texts with a saved network."""

    class Config(KerasInput):
        """Options of `text.keras`."""

        vocabulary: Path
        """A token a line, the first is id 0 (`TextVectorization.get_vocabulary()`), or JSON, an id a word
        (`Tokenizer.word_index`)."""
        cleaning: Cleaning = "lower_and_strip_punctuation"
        max_tokens: int = Field(64, ge=1, le=100_000)
        padding: Side = "after"
        """Where a network of a fixed length is filled up; "before" also keeps the end of a longer text."""

        def preparer(self) -> KerasTextPreparer:
            """Make the (unfitted) preparer of these texts."""
            return KerasTextPreparer(
                self.source,
                self.layer,
                vocabulary=self.vocabulary,
                cleaning=self.cleaning,
                max_tokens=self.max_tokens,
                padding=self.padding,
            )

    modality = "text"

    def features(self, token_UT: Tensor, mask_UT: Tensor | None) -> Features:
        """Return (U, T, F) and the mask."""
        preparer = self.preparer
        return self._along_time(token_UT, mask_UT, preparer.network.shape[0], before=preparer.padding == "before")
