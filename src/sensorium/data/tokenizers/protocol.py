"""The seam between text and ids: what every tokenizer does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from sensorium.core.vocabulary import Vocab


@runtime_checkable
class Tokenizer(Protocol):
    """Turn text into ids of one vocabulary, and ids into readable text.

    Built as `Tokenizer(config)`.  It is pickled into loader processes; each process counts for itself.
    """

    name: str
    config: Any
    num_unknown: int  # tokens that `encode` met outside the vocabulary, in this process

    @property
    def vocab(self) -> Vocab:
        """The fitted vocabulary.  Raises ModelError before `fit` or `load`."""
        ...

    def fit(self, texts: Iterable[str]) -> Self:
        """Learn the vocabulary in one pass; ties are broken alike on every machine."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return ids without BOS and EOS; what the vocabulary lacks becomes UNK and is counted."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return readable text; special ids are skipped."""
        ...

    def normalised(self, text: str) -> str:
        """Return `text` as `decode` would write it if the vocabulary lacked nothing of it.

        Judging goes by it: what a tokenizer changes in what a model writes, it changes in what is right, too.
        """
        return text

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` into `folder`, which exists."""
        ...

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.  Raises ModelError: damaged, or fitted with other settings."""
        ...
