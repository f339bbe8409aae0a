"""One token a code point, in Unicode normal form C.

Enters: text, white space and line ends included.  Leaves: ids; decoding gives the composed text back
wherever every character is known.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from sensorium.core.config import Section
from sensorium.data.tokenizers.characters import composed, lowered
from sensorium.data.tokenizers.lexical import LexicalTokenizer


class CharacterTokenizer(LexicalTokenizer):
    """Split into code points: Latin letters, Chinese characters, blanks and signs alike."""

    name = "character"

    class Config(Section):
        """Settings; `vocabulary_size` includes the four special tokens."""

        vocabulary_size: int = Field(default=20_000, ge=5)
        min_count: int = Field(default=1, ge=1)
        lowercase: bool = False

    def split(self, text: str) -> str:
        """Return the composed text: a string is a sequence of one-character strings, no list is needed."""
        return lowered(composed(text)) if self.config.lowercase else composed(text)

    def join(self, tokens: Sequence[str]) -> str:
        """Return the characters one after the other."""
        return "".join(tokens)
