"""One token a stretch without white space: text that is tokenised already, as KenLM and SRILM read it.

Enters: text whose tokens are parted by blanks.  Leaves: ids; decoding joins them by one blank.  White
space is ASCII's alone, so that a no-break space stays part of its word; case and form are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from pydantic import Field

from sensorium.core.config import Section
from sensorium.core.vocabulary import Vocab
from sensorium.data.tokenizers import saved
from sensorium.data.tokenizers.characters import encodable
from sensorium.data.tokenizers.lexicon import FitReport, Lexicon, require

_BLANKS = str.maketrans(dict.fromkeys("\t\n\v\f\r\0", " "))


class WhitespaceTokenizer:
    """Split at white space."""

    name = "whitespace"

    class Config(Section):
        """Settings; `vocabulary_size` includes the four special tokens."""

        vocabulary_size: int = Field(default=10_000_000, ge=5)
        min_count: int = Field(default=1, ge=1)

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()
        self.report_ = FitReport()
        self._lexicon: Lexicon | None = None

    @classmethod
    def of(cls, vocab: Vocab) -> Self:
        """Build over a vocabulary that is known already, as an ARPA file's is."""
        tokenizer = cls()
        tokenizer._lexicon = Lexicon(vocab)
        return tokenizer

    @property
    def vocab(self) -> Vocab:
        """The fitted vocabulary.  Raises ModelError before `fit` or `load`."""
        return require(self._lexicon, self.name).vocab

    @property
    def num_unknown(self) -> int:
        """Count the tokens that `encode` met outside the vocabulary."""
        return self._lexicon.num_unknown if self._lexicon else 0

    def fit(self, texts: Iterable[str]) -> Self:
        """Count tokens and keep the commonest."""
        self._lexicon, self.report_ = Lexicon.fitted(
            map(_split, texts),
            vocabulary_size=self.config.vocabulary_size,
            min_count=self.config.min_count,
        )
        return self

    def encode(self, text: str) -> list[int]:
        """Return one id a token."""
        return require(self._lexicon, self.name).encode(_split(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the tokens parted by blanks; special ids are skipped."""
        return " ".join(require(self._lexicon, self.name).decode(ids))

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` into `folder`."""
        saved.write(folder, self.name, self.config, {"tokens": self.vocab.tokens})

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.  Raises ModelError."""
        tokens = saved.learned(folder, self.name, self.config, "tokens")
        self._lexicon = Lexicon.of(tokens, str(folder / saved.FILE))
        return self


def _split(text: str) -> list[str]:
    if text.isascii() and "\0" not in text and not any(c in text for c in "\x1c\x1d\x1e\x1f"):
        return text.split()
    return [token for token in encodable(text).translate(_BLANKS).split(" ") if token]
