"""What tokenizers over a lexicon share: all but how a text is split and put together again.

Enters: texts.  Leaves: ids of a counted vocabulary.  A tokenizer of this kind says `name`, `Config` and `split`,
and `join` where its tokens are not parted by blanks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from sensorium.core.config import Section
from sensorium.core.vocabulary import Vocab
from sensorium.data.tokenizers import saved
from sensorium.data.tokenizers.lexicon import FitReport, Lexicon, require


class LexicalTokenizer:
    """Split a text, and look its tokens up."""

    name: ClassVar[str]
    Config: ClassVar[type[Section]]
    unknown: ClassVar[frozenset[str]] = frozenset()
    """Tokens of a text that stand for words it does not know, as `<unk>` does in files for KenLM."""

    def __init__(self, config: Any = None) -> None:
        self.config: Any = config or self.Config()
        self.report_ = FitReport()
        self._lexicon: Lexicon | None = None

    def split(self, text: str) -> Sequence[str]:
        """Return the tokens of `text` before they are looked up."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to split")

    def join(self, tokens: Sequence[str]) -> str:
        """Return readable text."""
        return " ".join(tokens)

    @property
    def vocab(self) -> Vocab:
        """The fitted vocabulary.  Raises ModelError before `fit` or `load`."""
        return require(self._lexicon, self.name).vocab

    @property
    def num_unknown(self) -> int:
        """Count the tokens that `encode` met outside the vocabulary."""
        return self._lexicon.num_unknown if self._lexicon else 0

    def fit(self, texts: Iterable[str]) -> Self:
        """Count tokens and keep the commonest.  Raises what `split` does."""
        return self._count(map(self.split, texts), self.config.vocabulary_size)

    def encode(self, text: str) -> list[int]:
        """Return one id a token."""
        return require(self._lexicon, self.name).encode(self.split(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Return readable text; special ids are skipped."""
        return self.join(require(self._lexicon, self.name).decode(ids))

    def normalised(self, text: str) -> str:
        """Return `text` as `decode` would write it if the vocabulary lacked nothing of it."""
        return self.join(self.split(text))

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` into `folder`."""
        saved.write(folder, self.name, self.config, {"tokens": self.vocab.tokens})

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.  Raises ModelError."""
        tokens = saved.learned(folder, self.name, self.config, "tokens")
        self._lexicon = Lexicon.of(tokens, str(folder / saved.FILE))
        return self

    def _count(self, texts: Iterable[Sequence[str]], vocabulary_size: int) -> Self:
        self._lexicon, self.report_ = Lexicon.fitted(
            texts, vocabulary_size=vocabulary_size, min_count=self.config.min_count, unknown=self.unknown
        )
        return self
