"""One token a code point, in Unicode normal form C.

Enters: text, white space and line ends included.  Leaves: ids; decoding gives the composed text back
wherever every character is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from pydantic import Field

from sensorium.core.config import Section
from sensorium.core.vocabulary import Vocab
from sensorium.data.tokenizers import saved
from sensorium.data.tokenizers.characters import composed, lowered
from sensorium.data.tokenizers.lexicon import FitReport, Lexicon, require


class CharacterTokenizer:
    """Split into code points: Latin letters, Chinese characters, blanks and signs alike."""

    name = "character"

    class Config(Section):
        """Settings; `vocabulary_size` includes the four special tokens."""

        vocabulary_size: int = Field(default=20_000, ge=5)
        min_count: int = Field(default=1, ge=1)
        lowercase: bool = False

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
        """Count the characters that `encode` met outside the vocabulary."""
        return self._lexicon.num_unknown if self._lexicon else 0

    def fit(self, texts: Iterable[str]) -> Self:
        """Count characters and keep the commonest."""
        self._lexicon, self.report_ = Lexicon.fitted(
            (self._split(text) for text in texts),
            vocabulary_size=self.config.vocabulary_size,
            min_count=self.config.min_count,
        )
        return self

    def encode(self, text: str) -> list[int]:
        """Return one id a character."""
        return require(self._lexicon, self.name).encode(self._split(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the characters of `ids`; special ids are skipped."""
        return "".join(require(self._lexicon, self.name).decode(ids))

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` into `folder`."""
        saved.write(folder, self.name, self.config, {"tokens": self.vocab.tokens})

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.  Raises ModelError."""
        tokens = saved.learned(folder, self.name, self.config, "tokens")
        self._lexicon = Lexicon.of(tokens, str(folder / saved.FILE))
        return self

    def _split(self, text: str) -> str:
        # A string is a sequence of one-character strings; no list is needed.
        return lowered(composed(text)) if self.config.lowercase else composed(text)
