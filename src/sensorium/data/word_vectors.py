"""Word vectors on disk: the text and binary files of word2vec, GloVe and fastText.

Enters: a file.  Leaves: `WordVectors`, words and float32 (V, D); and back.

    text     an optional first line 'V D', then 'word x_1 .. x_D' a line (GloVe has no first line; fastText's
             .vec has one); .gz is read too
    binary   a line 'V D', then for each word 'word ' and D little-endian float32, maybe a line break (word2vec)
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from sensorium.core.commit import write_atomic
from sensorium.core.errors import DataError
from sensorium.core.names import near
from sensorium.core.vocabulary import Vocab


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
            DataError: no such file, or a line of another form.
        """
        try:
            with _opened(path) as file:
                is_binary = path.name.removesuffix(".gz").endswith(".bin")
                entries = (_binary if is_binary else _text)(file, path)
                kept = {word: x_D for word, x_D in entries if keep is None or word in keep}
        except (OSError, EOFError) as error:
            raise DataError(f"cannot be read: {error}", where=str(path)) from None
        if not kept:
            raise DataError("holds no vector that is asked for", where=str(path))
        return cls(tuple(kept), torch.from_numpy(np.stack(list(kept.values()))))

    def write(self, path: Path) -> None:
        """Write the text form, or the binary one to a `.bin`.  Raises DiskError."""
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


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


Entry = tuple[str, np.ndarray[tuple[int], np.dtype[np.float32]]]


def _text(file: BinaryIO, path: Path) -> Iterator[Entry]:
    width: int | None = None
    for number, line in enumerate(file, start=1):
        fields = line.decode("utf-8", "replace").rstrip().split(" ")
        if number == 1 and _is_header(fields):
            width = int(fields[1])
            continue
        if width is None:
            width = len(fields) - 1
        # Some GloVe words hold blanks, so the numbers are counted from the end.
        try:
            x_D = np.array(fields[len(fields) - width :], dtype=np.float32)
        except ValueError:
            x_D = np.zeros(0, np.float32)
        if len(x_D) != width or len(fields) <= width:
            raise DataError(f"is no word and {width} numbers", where=f"{path}:{number}")
        yield " ".join(fields[: len(fields) - width]), x_D


def _is_header(fields: Sequence[str]) -> bool:
    return len(fields) == 2 and all(field.isdigit() for field in fields)


def _binary(file: BinaryIO, path: Path) -> Iterator[Entry]:
    fields = file.readline(64).decode("utf-8", "replace").split()
    if not _is_header(fields):
        raise DataError("does not begin with 'WORDS WIDTH'", where=str(path))
    num_words, width = int(fields[0]), int(fields[1])
    for number in range(num_words):
        letters = bytearray()
        while (letter := file.read(1)) not in (b" ", b""):
            letters += letter
        values = file.read(4 * width)
        if len(values) != 4 * width:
            raise DataError(f"ends in word {number + 1} of {num_words}", where=str(path))
        yield letters.decode("utf-8", "replace").lstrip("\n"), np.frombuffer(values, "<f4").astype(np.float32)
