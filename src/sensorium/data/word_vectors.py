"""Word vectors on disk: the text and binary files of word2vec, GloVe and fastText.

Enters: a file.  Leaves: `WordVectors`, words and float32 (V, D); and back.

The forms are those of `sensorium.data.word_vector_files`; of a word that comes twice the first vector is kept.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sensorium.core.commit import write_atomic
from sensorium.core.errors import DataError
from sensorium.core.names import near, nearest_place
from sensorium.core.text_file import fields
from sensorium.core.vocabulary import Vocab
from sensorium.data.word_vector_files import entries

logger = logging.getLogger(__name__)


def begins_vectors(begins: bytes) -> bool:
    """Say whether a file that begins with these bytes is one of vectors, as `WordVectors.write` writes them."""
    return re.match(rb"\d+ \d+\n", begins) is not None


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors, float32 (V, D)."""

    words: tuple[str, ...]
    x_VD: Tensor

    @classmethod
    def read(cls, path: Path, keep: Vocab | None = None) -> WordVectors:
        """Read a file of vectors; `.bin` is binary, all else is text.

        Args:
            keep: leave out words outside this vocabulary, so that a large file needs little memory.

        Raises:
            DataError: no such file, a line of another form, or not as many words as the first line declares.
        """
        kept: dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]] = {}
        num_twice = 0
        try:
            for word, x_D in entries(path):
                num_twice += word in kept
                if keep is None or word in keep:
                    kept.setdefault(word, x_D)
        except (OSError, EOFError, zlib.error) as error:
            advice = "" if path.exists() else nearest_place(path)
            raise DataError(f"cannot be read: {error}", where=str(path), advice=advice) from None
        if num_twice:
            logger.warning("%s: %s words come twice; the first vector is kept", path.name, f"{num_twice:,}")
        if not kept:
            raise DataError("holds no vector that is asked for", where=str(path))
        return cls(tuple(kept), torch.from_numpy(np.stack(list(kept.values()))))

    def write(self, path: Path) -> None:
        """Write the text form, or the binary one to a `.bin`.

        Raises:
            DataError: a word that such a file cannot say, as a tokenizer of characters has.
            DiskError: no space or no permission.
        """
        said = " " if path.suffix != ".bin" else ""  # the text form may have blanks inside a word
        if wrong := [word for word in self.words if not word or said.join(fields(word)) != word]:
            what = f"word {wrong[0]!r} holds white space, which a file of word vectors cannot say"
            raise DataError(what, where=str(path), advice="use a tokenizer of words")
        lines = [f"{len(self.words)} {self.x_VD.shape[1]}\n".encode()]
        for word, x_D in zip(self.words, self.x_VD.numpy().astype("<f4"), strict=True):
            values = x_D.tobytes() if path.suffix == ".bin" else " ".join(f"{x:.9g}" for x in x_D).encode()
            lines.append(word.encode("utf-8") + b" " + values + b"\n")
        write_atomic(path, b"".join(lines))

    def nearest(self, word: str, num: int = 10) -> list[tuple[str, float]]:
        """Return the most similar other words and their cosines.  Raises DataError: an unknown word."""
        return self._closest(self.unit(word), (word,), num)

    def analogy(self, a: str, b: str, c: str, num: int = 10) -> list[tuple[str, float]]:
        """Return words that are to `c` as `b` is to `a`, by the cosine with b - a + c of unit vectors.

        Source: Mikolov, Yih and Zweig 2013, "Linguistic regularities in continuous space word
        representations", section 5.  Raises DataError: an unknown word.
        """
        return self._closest(self.unit(b) - self.unit(a) + self.unit(c), (a, b, c), num)

    def unit(self, word: str) -> Tensor:
        """Return the vector of `word` at length 1, (D,).  Raises DataError: an unknown word."""
        if word not in self.row_of:
            close = near(word, self.words)
            raise DataError(f"no vector for '{word}'", advice=f"did you mean '{close}'?" if close else "")
        return self.unit_VD[self.row_of[word]]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Return the row of each word."""
        return {word: row for row, word in enumerate(self.words)}

    @cached_property
    def unit_VD(self) -> Tensor:
        """Return all vectors at length 1; a zero vector stays zero."""
        return torch.nn.functional.normalize(self.x_VD, dim=1)

    def _closest(self, to_D: Tensor, but: Sequence[str], num: int) -> list[tuple[str, float]]:
        cosine_V = self.unit_VD @ torch.nn.functional.normalize(to_D, dim=0)
        cosine_V[[self.row_of[word] for word in but]] = -torch.inf
        num = min(num, len(self.words) - len(set(but)))
        best = cosine_V.topk(num)
        return [(self.words[i], float(x)) for i, x in zip(best.indices.tolist(), best.values, strict=True)]

    def fill(self, weight_VD: Tensor, vocab: Vocab) -> int:
        """Copy the vectors of `vocab`'s words into rows of `weight_VD`; returns how many.

        Raises:
            DataError: vectors of another width.
        """
        if self.x_VD.shape[1] != weight_VD.shape[1]:
            raise DataError(
                f"vectors of {self.x_VD.shape[1]} numbers do not fit an embedding of {weight_VD.shape[1]}",
                advice="set the encoder's embedding (or hidden) to the vectors' width",
            )
        shared = [(vocab.id(word), i) for i, word in enumerate(self.words) if word in vocab]
        to_N, from_N = torch.tensor(shared, dtype=torch.int64).view(-1, 2).T
        with torch.no_grad():
            weight_VD[to_N.to(weight_VD.device)] = self.x_VD[from_N].to(weight_VD)
        return len(shared)
