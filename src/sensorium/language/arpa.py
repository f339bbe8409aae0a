r"""Read and write n-gram models as ARPA files, the form that KenLM and SRILM share.

Enters: a path, gzip if it ends in `.gz`.  Leaves: a vocabulary and `NgramTables`, or the file.
Words are parted by blanks and tabs alone, however many: a no-break space is part of its word.

    \data\                       how many n-grams of each length
    ngram 1=4686
    \1-grams:                    log10 p <TAB> words <TAB> log10 b; b is left out where it is 0
    -2.65   the   -0.228
    \end\

`<s>` is never predicted: its probability (0 from KenLM, -99 from SRILM) is not read, and written as 0.
A file without `<unk>` gives it log10 p = -100, as KenLM does.  Every n-gram's words without the last
must be an n-gram too, which both programs see to; words without the first need not.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from sensorium.core import text_file
from sensorium.core.commit import disk_error
from sensorium.core.errors import DataError, ModelError, SensoriumError
from sensorium.core.vocabulary import BOS, PAD, SPECIAL_TOKENS, UNK, Vocab
from sensorium.language.kneser_ney import first_children
from sensorium.language.ngram_counts import Ints
from sensorium.language.ngram_tables import NgramTables, Singles

MISSING_UNK_LOG10 = -100.0
MAX_ORDER = 16
_LN_10 = math.log(10)
_SPELLINGS = {"<UNK>": "<unk>", "<S>": "<s>", "</S>": "</s>"}

log = logging.getLogger(__name__)


def is_arpa(path: Path) -> bool:
    """Say whether the name is an ARPA file's: `.arpa`, `.arpa.gz`, `.lm` or `.lm.gz`."""
    return path.name.removesuffix(".gz").endswith((".arpa", ".lm"))


def begins_arpa(begins: bytes) -> bool:
    """Say whether a file that begins with these bytes is an ARPA file; of a packed one only that it is packed."""
    return begins.startswith(b"\x1f\x8b") or b"\\data\\" in begins


def read_arpa(path: Path) -> tuple[Vocab, NgramTables]:
    """Read a model.

    Raises:
        DataError: no such file, not ARPA, cut short, or an n-gram that is malformed, twice there, or
            whose context is missing.
    """
    try:
        return _Reader(str(path), text_file.lines(path)).read()
    except OSError as error:
        raise DataError(f"cannot be read: {error}", where=str(path)) from None


def write_arpa(vocab: Vocab, tables: NgramTables, path: Path) -> None:
    """Write a model, whole or not at all.

    Raises:
        ModelError: a token holds white space, as a character model's does.
        DiskError: no space or no permission.
    """
    for token in vocab.tokens:
        if text_file.fields(token) != [token]:
            raise ModelError(
                f"token {token!r} holds white space, which an ARPA file cannot say",
                where=str(path),
                advice="save to a folder instead",
            )
    draft = path.with_name(f".{path.name}.draft")
    try:
        with _open_to_write(draft, path.name.endswith(".gz")) as file:
            _write(vocab, tables, file)
        draft.replace(path)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _open_to_write(path: Path, packed: bool) -> Iterator[TextIO]:
    with path.open("wb") as file:
        # Without name and time, equal models give equal files.
        raw: Any = gzip.GzipFile("", "wb", 6, file, 0) if packed else file
        text = io.TextIOWrapper(raw, encoding="utf-8", newline="\n")
        yield text
        text.flush()
        if packed:
            text.close()
        file.flush()
        os.fsync(file.fileno())


@dataclass(slots=True)
class _Level:
    """The n-grams of one length in the file's order."""

    words: list[str] = field(default_factory=list)
    log10_p: list[float] = field(default_factory=list)
    log10_b: list[float] = field(default_factory=list)


class _Reader:
    """Walk through the lines, then build the trie."""

    def __init__(self, name: str, lines: Iterator[tuple[int, str]]) -> None:
        self.name, self.lines = name, lines
        self.line_number = 0

    def read(self) -> tuple[Vocab, NgramTables]:
        nums = self._header()
        levels = [self._section(length, num) for length, num in enumerate(nums, start=1)]
        self._expect("\\end\\")
        vocab = self._vocab(levels[0])
        return vocab, _build(vocab, levels, self.name)

    def _fail(self, what: str) -> SensoriumError:
        return DataError(what, where=f"{self.name}:{self.line_number}")

    def _filled(self) -> Iterator[str]:
        for number, text in self.lines:
            self.line_number = number
            if text.strip(" \t"):
                yield text
        raise self._fail("ends before \\end\\: it is cut short, or no ARPA file")

    def _expect(self, wanted: str) -> None:
        found = next(self._filled()).strip()
        if found != wanted:
            raise self._fail(f"should say '{wanted}', but says '{found[:60]}'")

    def _header(self) -> list[int]:
        for line in self._filled():  # SRILM lets remarks stand before \data\
            if line.strip() == "\\data\\":
                break
        nums: list[int] = []
        for line in self._filled():
            if not line.startswith("ngram"):
                break
            length, _, num = line.removeprefix("ngram").partition("=")
            if not (length.strip() == str(len(nums) + 1) and num.strip().isdecimal()):
                raise self._fail(f"should be 'ngram {len(nums) + 1}=' and a number, but is '{line[:60]}'")
            nums.append(int(num))
        if not nums or len(nums) > MAX_ORDER or line.strip() != "\\1-grams:":
            raise self._fail(f"should begin \\1-grams: after 1 to {MAX_ORDER} counts, but says '{line[:60]}'")
        return nums

    def _section(self, length: int, num: int) -> _Level:
        if length > 1:
            self._expect(f"\\{length}-grams:")
        level, lines = _Level(), self._filled()
        for _ in range(num):
            fields = next(lines).split("\t")
            if len(fields) < 2:  # blanks in place of tabs
                pieces = text_file.fields(fields[0])
                fields = [pieces[0], " ".join(pieces[1 : length + 1]), *pieces[length + 1 :]]
            elif len(fields) > 3 or not fields[-1] or fields[1].count(" ") != length - 1:  # blanks beside tabs
                fields = [" ".join(part) for field in fields if (part := text_file.fields(field))] or fields
            try:
                level.log10_p.append(float(fields[0]))
                level.log10_b.append(float(fields[2]) if len(fields) > 2 else 0.0)
            except ValueError:
                raise self._fail(f"is not 'log10 p, {length} words, log10 b': {fields}") from None
            if fields[1].count(" ") != length - 1 or len(fields) > 3:
                raise self._fail(f"is not an n-gram of {length} words; the header counts {num:,} of them")
            if not (level.log10_p[-1] <= 0 or fields[1] in ("<s>", "<S>")) or not math.isfinite(level.log10_b[-1]):
                raise self._fail("has a log10 p above 0 or a weight that is no number")
            level.words.append(fields[1])
        return level

    def _vocab(self, unigrams: _Level) -> Vocab:
        unigrams.words = [_SPELLINGS.get(word, word) for word in unigrams.words]
        words = set(unigrams.words)
        if SPECIAL_TOKENS[PAD] in words:
            raise DataError("has '<pad>' as a word, which this program keeps for itself", where=self.name)
        if missing := {"<s>", "</s>"} - words:
            raise DataError(f"lacks the unigram {' and '.join(sorted(missing))}", where=self.name)
        if "<unk>" not in words:
            log.warning("%s has no <unk>: unknown words get log10 p = %g", self.name, MISSING_UNK_LOG10)
        if len(words) != len(unigrams.words):
            raise DataError("has a unigram twice", where=self.name)
        return Vocab.of(unigrams.words)


def _build(vocab: Vocab, levels: list[_Level], name: str) -> NgramTables:
    """Sort each length's n-grams by key; contexts are looked up in the shorter ones, already sorted."""
    num_tokens = len(vocab)
    log10_p = [np.full(num_tokens, -np.inf)]
    log10_p[0][UNK] = MISSING_UNK_LOG10
    log10_b = [np.zeros(num_tokens)]
    ids = vocab.ids(levels[0].words)
    log10_p[0][ids], log10_b[0][ids] = levels[0].log10_p, levels[0].log10_b
    log10_p[0][[PAD, BOS]] = -np.inf
    keys, starts = [np.empty(0, np.int64)], [0, num_tokens]
    for length, level in enumerate(levels[1:], start=2):
        key_N = _keys(vocab, level, length, keys, starts, name)
        order_N = np.argsort(key_N)
        keys.append(key_N[order_N])
        again_N = np.flatnonzero(np.diff(keys[-1]) == 0)
        if len(again_N):
            raise DataError(f"has '{level.words[order_N[again_N[0]]]}' twice", where=name)
        log10_p.append(np.array(level.log10_p)[order_N])
        log10_b.append(np.array(level.log10_b)[order_N])
        starts.append(starts[-1] + len(key_N))
    key_N = np.concatenate(keys)
    log_b_C = _nats(np.concatenate([*log10_b[:-1], np.empty(0)]))
    first_C1 = first_children(key_N, len(log_b_C), num_tokens)
    discount_L3 = np.zeros((len(levels), 3), np.float32)
    return NgramTables(key_N, _nats(np.concatenate(log10_p)), log_b_C, first_C1, np.array(starts), discount_L3, 0)


def _keys(vocab: Vocab, level: _Level, length: int, keys: list[Ints], starts: list[int], name: str) -> Ints:
    words = [word for gram in level.words for word in gram.split(" ")]
    ids_NL = np.array([vocab.id(_SPELLINGS.get(word, word)) for word in words], np.int64).reshape(-1, length)
    unknown_NL = ids_NL == UNK
    if unknown_NL.any() and any(w not in vocab for w in words if w not in _SPELLINGS):
        stray = next(w for w in words if w not in vocab and w not in _SPELLINGS)
        raise DataError(f"has '{stray}' in an n-gram, but not as a unigram", where=name)
    node_N = ids_NL[:, 0]
    for t in range(1, length - 1):
        key_N = node_N * len(vocab) + ids_NL[:, t]
        at_N = np.searchsorted(keys[t], key_N).clip(max=max(len(keys[t]) - 1, 0))
        lost_N = keys[t][at_N] != key_N if len(keys[t]) else np.ones(len(key_N), bool)
        if lost_N.any():
            gram = level.words[int(np.flatnonzero(lost_N)[0])]
            raise DataError(f"has '{gram}', but not its first {t + 1} words", where=name)
        node_N = starts[t] + at_N
    found_N: Ints = node_N * len(vocab) + ids_NL[:, -1]
    return found_N


def _nats(log10_N: NDArray[np.float64]) -> Singles:
    return (log10_N * _LN_10).astype(np.float32)


def _write(vocab: Vocab, tables: NgramTables, file: TextIO) -> None:
    start_L, num_tokens = tables.level_start.tolist(), len(vocab)
    nums = np.diff(start_L)
    nums[0] -= 1  # PAD is no word
    file.write("\\data\\\n" + "".join(f"ngram {n}={num}\n" for n, num in enumerate(nums, start=1)))
    word_V, gram_N = list(vocab.tokens), list(vocab.tokens)
    log10_p_N = tables.log_p / _LN_10
    log10_p_N[BOS] = 0
    log10_b_C = tables.log_backoff / _LN_10
    for length, (start, end) in enumerate(itertools.pairwise(start_L), start=1):
        if length > 1:
            context_N, last_N = np.divmod(tables.key[start - num_tokens : end - num_tokens], num_tokens)
            before = start_L[length - 2]
            pairs = zip((context_N - before).tolist(), last_N.tolist(), strict=True)
            gram_N = [f"{gram_N[context]} {word_V[last]}" for context, last in pairs]
        file.write(f"\n\\{length}-grams:\n")
        p_N = log10_p_N[start:end].tolist()
        if end <= len(log10_b_C):
            b_N = log10_b_C[start:end].tolist()
            lines = [f"{p:.7g}\t{gram}\t{b:.7g}\n" for p, gram, b in zip(p_N, gram_N, b_N, strict=True)]
        else:
            lines = [f"{p:.7g}\t{gram}\n" for p, gram in zip(p_N, gram_N, strict=True)]
        file.writelines(lines[PAD + 1 :] if length == 1 else lines)
    file.write("\n\\end\\\n")
