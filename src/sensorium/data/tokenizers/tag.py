"""One token a run of characters without white space, as it stands: tags, and texts that are split already.

Enters: text such as 'B-NP I-NP O'.  Leaves: one id a tag; decoding joins them by blanks.
With `scheme = "bioes"` the ids are of BIOES tags, while texts stay in BIO on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from sensorium.core.config import Section
from sensorium.core.vocabulary import Vocab
from sensorium.data import tagging
from sensorium.data.tokenizers import saved
from sensorium.data.tokenizers.characters import encodable, lowered
from sensorium.data.tokenizers.lexicon import FitReport, Lexicon, require


class TagTokenizer:
    """Split at white space alone."""

    name = "tag"

    class Config(Section):
        """Settings; `vocabulary_size` includes the four special tokens."""

        vocabulary_size: int = Field(default=50_000, ge=5)
        min_count: int = Field(default=1, ge=1)
        lowercase: bool = False
        scheme: Literal["as_given", "bioes"] = "as_given"

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
        """Count tokens and keep the commonest."""
        self._lexicon, self.report_ = Lexicon.fitted(
            (self._split(text) for text in texts),
            vocabulary_size=self.config.vocabulary_size,
            min_count=self.config.min_count,
        )
        return self

    def encode(self, text: str) -> list[int]:
        """Return one id a token."""
        return require(self._lexicon, self.name).encode(self._split(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the tokens parted by blanks; special ids are skipped."""
        tokens = require(self._lexicon, self.name).decode(ids)
        return " ".join(tagging.to_bio(tokens) if self.config.scheme == "bioes" else tokens)

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` into `folder`."""
        saved.write(folder, self.name, self.config, {"tokens": self.vocab.tokens})

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.  Raises ModelError."""
        tokens = saved.learned(folder, self.name, self.config, "tokens")
        self._lexicon = Lexicon.of(tokens, str(folder / saved.FILE))
        return self

    def _split(self, text: str) -> list[str]:
        tokens = (lowered(text) if self.config.lowercase else encodable(text)).split()
        return tagging.to_bioes(tokens) if self.config.scheme == "bioes" else tokens
