"""The whole text is one token: class names and closed sets of answers.

Enters: text; white space is normalised, so ' two  dogs' and 'two dogs' are one label.
Leaves: one id a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from pydantic import Field

from sensorium.core.config import Section
from sensorium.core.errors import DataError
from sensorium.core.vocabulary import Vocab
from sensorium.data.tokenizers import saved
from sensorium.data.tokenizers.characters import composed, lowered, one_line
from sensorium.data.tokenizers.lexicon import FitReport, Lexicon, require


class LabelTokenizer:
    """Keep each text whole."""

    name = "label"

    class Config(Section):
        """Settings; more than `max_labels` different texts are taken for a mistake."""

        max_labels: int = Field(default=100_000, ge=1)
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
        """Count the texts that `encode` met outside the vocabulary."""
        return self._lexicon.num_unknown if self._lexicon else 0

    def fit(self, texts: Iterable[str]) -> Self:
        """Collect the labels.

        Raises:
            DataError: more than `max_labels` different ones.
        """
        self._lexicon, self.report_ = Lexicon.fitted(
            self._checked(texts),
            vocabulary_size=len(Vocab.of(())) + self.config.max_labels,
            min_count=self.config.min_count,
        )
        return self

    def encode(self, text: str) -> list[int]:
        """Return the label's id; blank text gives none."""
        return require(self._lexicon, self.name).encode(self._split(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the label; several are parted by blanks, special ids are skipped."""
        return " ".join(require(self._lexicon, self.name).decode(ids))

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` into `folder`."""
        saved.write(folder, self.name, self.config, {"tokens": self.vocab.tokens})

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.  Raises ModelError."""
        tokens = saved.learned(folder, self.name, self.config, "tokens")
        self._lexicon = Lexicon.of(tokens, str(folder / saved.FILE))
        return self

    def _split(self, text: str) -> list[str]:
        label = one_line(composed(text))
        if self.config.lowercase:
            label = lowered(label)
        return [label] if label else []

    def _checked(self, texts: Iterable[str]) -> Iterable[list[str]]:
        seen: set[str] = set()
        for text in texts:
            labels = self._split(text)
            seen.update(labels)
            if len(seen) > self.config.max_labels:
                raise DataError(
                    f"more than {self.config.max_labels:,} different labels",
                    advice="these are texts rather than classes: choose tokenizer 'word', or raise max_labels",
                )
            yield labels
