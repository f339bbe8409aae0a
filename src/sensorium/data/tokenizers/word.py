"""One token a word, number or sign; Chinese by character, or by word with jieba.

Enters: text in any script.  Leaves: ids; decoding gives readable text (`words.join`), in lower case
unless `lowercase = false`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from sensorium.core.config import Section
from sensorium.core.errors import MissingExtraError
from sensorium.core.vocabulary import Vocab
from sensorium.data.tokenizers import saved, words
from sensorium.data.tokenizers.characters import composed, lowered
from sensorium.data.tokenizers.lexicon import FitReport, Lexicon, require

_HAN_RUN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]{2,}")
_INVISIBLE = {0xAD: None, 0x200B: None, 0xFEFF: None}  # soft hyphen, zero-width blank, byte-order mark


class WordTokenizer:
    """Split into words, numbers and signs (`words.split`)."""

    name = "word"

    class Config(Section):
        """Settings; `vocabulary_size` includes the four special tokens.

        `segmenter` parts runs of Chinese characters: "character" needs nothing, "jieba" the extra `chinese`;
        "blank" splits at white space alone, for texts that are tokenised already.
        """

        vocabulary_size: int = Field(default=50_000, ge=5)
        min_count: int = Field(default=1, ge=1)
        lowercase: bool = True
        segmenter: Literal["character", "jieba", "blank"] = "character"

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()
        self.report_ = FitReport()
        self._lexicon: Lexicon | None = None

    @property
    def vocab(self) -> Vocab:
        """The fitted vocabulary.  Raises ModelError before `fit` or `load`."""
        return require(self._lexicon, self.name).vocab

    @property
    def num_unknown(self) -> int:
        """Count the tokens that `encode` met outside the vocabulary."""
        return self._lexicon.num_unknown if self._lexicon else 0

    def fit(self, texts: Iterable[str]) -> Self:
        """Count tokens and keep the commonest.

        Raises:
            MissingExtraError: jieba is asked for and not installed.
        """
        self._lexicon, self.report_ = Lexicon.fitted(
            (self.split(text) for text in texts),
            vocabulary_size=self.config.vocabulary_size,
            min_count=self.config.min_count,
        )
        return self

    def encode(self, text: str) -> list[int]:
        """Return one id a token."""
        return require(self._lexicon, self.name).encode(self.split(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Return readable text; special ids are skipped."""
        tokens = require(self._lexicon, self.name).decode(ids)
        return " ".join(tokens) if self.config.segmenter == "blank" else words.join(tokens)

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` into `folder`."""
        saved.write(folder, self.name, self.config, {"tokens": self.vocab.tokens})

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.  Raises ModelError."""
        tokens = saved.learned(folder, self.name, self.config, "tokens")
        self._lexicon = Lexicon.of(tokens, str(folder / saved.FILE))
        return self

    def split(self, text: str) -> list[str]:
        """Return the tokens of `text` before they are looked up."""
        if not text.isascii():
            text = composed(text.translate(_INVISIBLE))
        if self.config.lowercase:
            text = lowered(text)
        if self.config.segmenter == "blank":
            return text.split()
        if self.config.segmenter == "jieba" and not text.isascii():
            return _split_with_jieba(text)
        return words.split(text)


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
