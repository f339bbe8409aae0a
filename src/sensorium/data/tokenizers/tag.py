"""One token a run of characters between blanks, as it stands: tags, and texts that are split already.

Enters: text such as 'B-NP I-NP O'.  Leaves: one id a tag; decoding joins them by blanks.
With `scheme = "bioes"` the ids are of BIOES tags, while texts stay in BIO on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from sensorium.core.config import Section
from sensorium.data import tagging
from sensorium.data.tokenizers.characters import lowered, split_at_blanks
from sensorium.data.tokenizers.lexical import LexicalTokenizer


class TagTokenizer(LexicalTokenizer):
    """Split at blanks, tabs and line ends alone."""

    name = "tag"

    class Config(Section):
        """Settings; `vocabulary_size` includes the four special tokens."""

        vocabulary_size: int = Field(default=50_000, ge=5)
        min_count: int = Field(default=1, ge=1)
        lowercase: bool = False
        scheme: Literal["as_given", "bioes"] = "as_given"

    def split(self, text: str) -> list[str]:
        """Return the tags of `text`, in the scheme of the ids."""
        tokens = split_at_blanks(lowered(text) if self.config.lowercase else text)
        return tagging.to_bioes(tokens) if self.config.scheme == "bioes" else tokens

    def join(self, tokens: Sequence[str]) -> str:
        """Return the tags parted by blanks, in BIO if the ids are of BIOES."""
        return " ".join(tagging.to_bio(tokens) if self.config.scheme == "bioes" else tokens)
