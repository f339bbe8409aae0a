"""The whole text is one token: class names and closed sets of answers.

Enters: text; white space is normalised, so ' two  dogs' and 'two dogs' are one label.
Leaves: one id a text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from pydantic import Field

from sensorium.core.config import Section
from sensorium.core.errors import DataError
from sensorium.data.tokenizers.characters import composed, lowered, one_line
from sensorium.data.tokenizers.lexical import LexicalTokenizer
from sensorium.data.tokenizers.lexicon import NUM_SPECIAL


class LabelTokenizer(LexicalTokenizer):
    """Keep each text whole."""

    name = "label"

    class Config(Section):
        """Settings; more than `max_labels` different texts are taken for a mistake."""

        max_labels: int = Field(default=100_000, ge=1)
        min_count: int = Field(default=1, ge=1)
        lowercase: bool = False

    def fit(self, texts: Iterable[str]) -> Self:
        """Collect the labels.

        Raises:
            DataError: more than `max_labels` different ones.
        """
        return self._count(self._checked(texts), NUM_SPECIAL + self.config.max_labels)

    def split(self, text: str) -> list[str]:
        """Return the whole text; blank text is no label."""
        label = one_line(composed(text))
        if self.config.lowercase:
            label = lowered(label)
        return [label] if label else []

    def _checked(self, texts: Iterable[str]) -> Iterable[list[str]]:
        seen: set[str] = set()
        for text in texts:
            labels = self.split(text)
            seen.update(labels)
            if len(seen) > self.config.max_labels:
                raise DataError(
                    f"more than {self.config.max_labels:,} different labels",
                    advice="these are texts rather than classes: choose tokenizer 'word', or raise max_labels",
                )
            yield labels
