"""One token a word, number or sign; Chinese by character, or by word with jieba.

Enters: text in any script.  Leaves: ids; decoding gives readable text (`words.join`), in lower case
unless `lowercase = false`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from sensorium.core.config import Section
from sensorium.core.errors import MissingExtraError
from sensorium.data.tokenizers import words
from sensorium.data.tokenizers.characters import composed, lowered, split_at_blanks
from sensorium.data.tokenizers.lexical import LexicalTokenizer

_HAN_RUN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]{2,}")
_INVISIBLE = {0xAD: None, 0x200B: None, 0xFEFF: None}  # soft hyphen, zero-width blank, byte-order mark


class WordTokenizer(LexicalTokenizer):
    """Split into words, numbers and signs (`words.split`)."""

    name = "word"

    class Config(Section):
        """Settings; `vocabulary_size` includes the four special tokens.

        `segmenter` parts runs of Chinese characters: "character" needs nothing, "jieba" the extra `chinese`;
        "blank" splits at blanks, tabs and line ends alone, for texts that are tokenised already.
        """

        vocabulary_size: int = Field(default=50_000, ge=5)
        min_count: int = Field(default=1, ge=1)
        lowercase: bool = True
        segmenter: Literal["character", "jieba", "blank"] = "character"

    def split(self, text: str) -> list[str]:
        """Return the tokens of `text` before they are looked up.

        Raises:
            MissingExtraError: jieba is asked for and not installed.
        """
        if not text.isascii():
            text = composed(text.translate(_INVISIBLE))
        if self.config.lowercase:
            text = lowered(text)
        if self.config.segmenter == "blank":
            return split_at_blanks(text)
        if self.config.segmenter == "jieba" and not text.isascii():
            return _split_with_jieba(text)
        return words.split(text)

    def join(self, tokens: Sequence[str]) -> str:
        """Return readable text."""
        return " ".join(tokens) if self.config.segmenter == "blank" else words.join(tokens)


def _split_with_jieba(text: str) -> list[str]:
    try:
        import jieba
    except ImportError:
        raise MissingExtraError(
            "segmenter 'jieba' needs the jieba package", advice="pip install 'sensorium[chinese]'"
        ) from None
    jieba.setLogLevel("WARNING")
    tokens: list[str] = []
    end = 0
    for run in _HAN_RUN.finditer(text):
        tokens += words.split(text[end : run.start()])
        tokens += jieba.lcut(run[0])
        end = run.end()
    return tokens + words.split(text[end:])
