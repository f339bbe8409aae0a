"""The arrays an n-gram scorer answers from: keys, log-probabilities and back-off weights of a trie.

Enters: counts with their estimate, or the n-grams of an ARPA file.  Leaves: `NgramTables`, ready to be
buffers or to be written.  The trie's layout is told in `ngram_counts`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.language.kneser_ney import NgramEstimate, first_children
from sensorium.language.ngram_arrays import NewArray, in_memory, spans
from sensorium.language.ngram_counts import AnyInts, Bools, Ints, NgramCounts, Occurrences
from sensorium.language.ngram_pruning import kept_keys, renumbered

Singles = NDArray[np.float32]
_MOST = np.iinfo(np.int32).max


def _unknown() -> AnyInts:
    return np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class NgramTables:
    """A trie of N nodes with two numbers a node; see `Ngram` for the meaning of each array.

    Attributes:
        key: (N-V,) int64, ascending.
        log_p: (N,) float32, nats.
        log_backoff: (C,) float32, nats.
        first_child: (C+1,) int64.
        level_start: (order+1,) int64.
        discount: (order, 3) float32; zeros where unknown.
        num_fallbacks: lengths whose discounts could not be estimated.
        suffix, occurrence: (N-V,) and (N,) int32, what was counted (see `Occurrences`), so that counts can be
            added; empty where it is not known.
    """

    key: Ints
    log_p: Singles
    log_backoff: Singles
    first_child: Ints
    level_start: Ints
    discount: Singles
    num_fallbacks: int
    suffix: AnyInts = field(default_factory=_unknown)
    occurrence: AnyInts = field(default_factory=_unknown)

    @property
    def occurrences(self) -> Occurrences | None:
        """Return what was counted, or None where it is not known."""
        if len(self.occurrence) != len(self.log_p):
            return None
        starts = tuple(self.level_start.tolist())
        return Occurrences(starts[1], starts, self.key, self.suffix, self.occurrence)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the tables by the names of the scorer's buffers."""
        return {
            "key_": self.key,
            "log_p_": self.log_p,
            "log_backoff_": self.log_backoff,
            "first_child_": self.first_child,
            "level_start_": self.level_start,
            "discount_": self.discount,
            "num_fallbacks_": np.array(self.num_fallbacks),
            "suffix_": self.suffix,
            "occurrence_": self.occurrence,
        }


def tables_of(counts: NgramCounts, found: NgramEstimate, new: NewArray = in_memory) -> NgramTables:
    """Bring an estimate into the form it is read in; n-grams that are not kept go."""
    key_N, first_C1, level_start = counts.key_N, found.first_C1, np.array(counts.level_start)
    kept_N, num_tokens = counts.kept_N, counts.num_tokens
    if kept_N is not None:
        number_N1 = renumbered(kept_N, new)
        key_N = kept_keys(key_N, kept_N, number_N1, num_tokens, new)
        level_start = np.array(number_N1[level_start])
        first_C1 = first_children(key_N, int(level_start[-2]), num_tokens, new)
    log_p_N = _logs(found.p_N, kept_N, int(level_start[-1]), new)
    log_backoff_C = _logs(found.backoff_C, kept_N, int(level_start[-2]), new)
    discount_L3 = found.discount_L3.astype(np.float32)
    suffix, occurrence = _known(counts.known)
    return NgramTables(
        key_N,
        log_p_N,
        log_backoff_C,
        first_C1,
        level_start,
        discount_L3,
        found.num_fallbacks,
        suffix,
        occurrence,
    )


def write_tables(tables: NgramTables, path: Path) -> None:
    """Write a safetensors file straight from the arrays, which may be larger than memory.

    The format: the header's length in 8 bytes, a JSON header, then the arrays end to end.
    """
    header, at, arrays = {}, 0, tables.arrays()
    for name, array in arrays.items():
        kind = {"i8": "I64", "i4": "I32", "f4": "F32"}[array.dtype.str[1:]]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that every array is aligned
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            flat = array.reshape(-1)
            for start, end in spans(0, len(flat)):
                flat[start:end].astype(array.dtype.newbyteorder("<"), copy=False).tofile(file)


def _known(found: Occurrences | None) -> tuple[AnyInts, AnyInts]:
    if found is None or max(found.level_start[-1], int(found.occurrence_N.max())) > _MOST:
        return _unknown(), _unknown()
    return found.suffix_N.astype(np.int32), found.occurrence_N.astype(np.int32)


def _logs(x_N: NDArray[np.float64], kept_N: Bools | None, num: int, new: NewArray) -> Singles:
    log_x_N, at = new(num, np.float32), 0
    with np.errstate(divide="ignore"):
        for start, end in spans(0, len(x_N)):
            block = np.log(x_N[start:end] if kept_N is None else x_N[start:end][kept_N[start:end]])
            log_x_N[at : at + len(block)] = block
            at += len(block)
    return log_x_N
