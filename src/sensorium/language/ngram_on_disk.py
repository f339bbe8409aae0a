"""Count n-grams of a corpus larger than memory: sorted runs on disk, merged length by length.

Enters: blocks of joined sequences, each small enough to sort.  Leaves: `NgramCounts` whose arrays are mapped
files, number for number those of `ngram_counts.count_joined` over the blocks laid end to end.

For each length, a block's n-grams are sorted into a run of distinct keys; the runs are merged a buffer at
a time; then each block looks its n-grams up in the merged keys, which gives the nodes that the next
length's keys are made of.  Source: external merge sort, as in Heafield et al. 2013, section 3.1, but over
keys of this trie.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.core.errors import DataError
from sensorium.core.vocabulary import BOS
from sensorium.language.ngram_arrays import DiskArrays, mapped, spans
from sensorium.language.ngram_counts import Ints, NgramCounts, check_joined, number_keys, places, thresholds

RECORD = np.dtype([("key", np.int64), ("suffix", np.int64), ("occurrence", np.int64), ("after_bos", np.bool_)])
Records = NDArray[np.void]


def count_on_disk(
    blocks: Iterable[Ints], order: int, num_tokens: int, arrays: DiskArrays, prune: Sequence[int] = ()
) -> NgramCounts:
    """Count all n-grams up to length `order`.

    Args:
        blocks: arrays of ids, each of whole sequences from BOS to EOS; the largest block decides how much
            memory is used: about 100 bytes a token.
        arrays: where the files go.

    Raises:
        DataError: no sequence, or one that does not run from BOS to EOS over ids 0..num_tokens-1.
    """
    counter = _Counter(order, num_tokens, arrays, thresholds(prune, order))
    counter.write_tokens(blocks)
    for length in range(2, order + 1):
        counter.count_length(length)
    return counter.finish(pruned=any(prune))


class _Counter:
    """The files of one count.  Keys and suffixes of all lengths follow each other in one file each."""

    def __init__(self, order: int, num_tokens: int, arrays: DiskArrays, limits: list[int]) -> None:
        self.order, self.num_tokens, self.arrays, self.limits = order, num_tokens, arrays, limits
        self.starts = [0, num_tokens]
        self.token_path, self.key_path, self.suffix_path, self.count_path, self.kept_path = (
            arrays.path() for _ in range(5)
        )
        for path in (self.token_path, self.key_path, self.suffix_path, self.count_path, self.kept_path):
            path.touch()
        self.ends: list[int] = []  # of the blocks
        self.node_path = self.token_path
        self.occurrence_N: Ints = np.zeros(num_tokens, np.int64)
        self.after_bos_N: NDArray[np.bool_] = np.arange(num_tokens) == BOS

    def write_tokens(self, blocks: Iterable[Ints]) -> None:
        with self.token_path.open("wb") as file:
            for block in blocks:
                check_joined(block, self.num_tokens)
                np.asarray(block, np.int64).tofile(file)
                self.occurrence_N += np.bincount(block, minlength=self.num_tokens)
                self.ends.append((self.ends[-1] if self.ends else 0) + len(block))
        if not self.ends:
            raise DataError("an n-gram model cannot be counted from no sequences")

    def count_length(self, length: int) -> None:
        runs = [self._write_run(*self._keys(start, end, length)) for start, end in self._blocks()]
        longest = max(end - start for start, end in self._blocks())
        size = max(longest // len(runs), 1 << 12)
        record_path, start = self.arrays.path(), self.starts[-1]
        before = start - self.num_tokens
        with (
            record_path.open("wb") as file,
            self.key_path.open("ab") as keys,
            self.suffix_path.open("ab") as suffixes,
        ):
            for merged in merge_runs([mapped(run, RECORD) for run in runs], size):
                merged["key"].tofile(keys)
                merged["suffix"].tofile(suffixes)
                merged.tofile(file)
        for run in runs:
            run.unlink()
        records = mapped(record_path, RECORD)
        self._finish_length(length - 1, records["suffix"])
        self.occurrence_N, self.after_bos_N = records["occurrence"], records["after_bos"]
        self.starts.append(start + len(records))
        if length < self.order:
            self._write_nodes(length, mapped(self.key_path, np.int64, before))

    def finish(self, *, pruned: bool) -> NgramCounts:
        self._finish_length(self.order, None)
        count_N = np.memmap(self.count_path, np.int64, "r+")
        count_N[BOS] = 0
        kept_N = mapped(self.kept_path, np.bool_) if pruned else None
        key_N, suffix_N = (mapped(path, np.int64) for path in (self.key_path, self.suffix_path))
        return NgramCounts(self.num_tokens, tuple(self.starts), key_N, suffix_N, count_N, kept_N)

    def _blocks(self) -> Iterator[tuple[int, int]]:
        return zip([0, *self.ends[:-1]], self.ends, strict=True)

    def _keys(self, start: int, end: int, length: int) -> tuple[Ints, Ints, NDArray[np.bool_], Ints]:
        """Return key, node of the suffix, whether BOS begins it, and place in the block of each n-gram."""
        token_T = np.fromfile(self.token_path, np.int64, end - start, offset=8 * start)
        node_T = np.fromfile(self.node_path, np.int64, end - start, offset=8 * start)
        place_T = places(token_T)
        end_E = np.flatnonzero(place_T >= length - 1)
        key_E = node_T[end_E - 1] * self.num_tokens + token_T[end_E]
        return key_E, node_T[end_E], place_T[end_E] == length - 1, end_E

    def _write_run(self, key_E: Ints, suffix_E: Ints, bos_E: NDArray[np.bool_], _: Ints) -> Path:
        key_N, index_E = number_keys(key_E)
        run_N = np.zeros(len(key_N), RECORD)
        run_N["key"], run_N["occurrence"] = key_N, np.bincount(index_E, minlength=len(key_N))
        run_N["suffix"][index_E], run_N["after_bos"][index_E] = suffix_E, bos_E
        path = self.arrays.path()
        run_N.tofile(path)
        return path

    def _write_nodes(self, length: int, key_N: Ints) -> None:
        """Write, for each token, the node of the n-gram of `length` that ends there; -1 where none does."""
        path = self.arrays.path()
        with path.open("wb") as file:
            for start, end in self._blocks():
                key_E, _, _, end_E = self._keys(start, end, length)
                block_key_N, index_E = number_keys(key_E)
                node_T = np.full(end - start, -1)
                node_T[end_E] = (self.starts[-2] + np.searchsorted(key_N, block_key_N))[index_E]
                node_T.tofile(file)
        if self.node_path != self.token_path:
            self.node_path.unlink()
        self.node_path = path

    def _finish_length(self, length: int, longer_suffix_M: Ints | None) -> None:
        """Append the adjusted counts of a length, now that the next one is known, and which are kept."""
        occurrence_N, num = self.occurrence_N, len(self.occurrence_N)
        count_N = occurrence_N
        if longer_suffix_M is not None:
            count_N = self.arrays(num, np.int64)
            for start, end in spans(0, len(longer_suffix_M)):
                node_M, preceding_M = np.unique(longer_suffix_M[start:end], return_counts=True)
                count_N[node_M - self.starts[length - 1]] += preceding_M
        limit = self.limits[length - 1] if length > 1 else -1
        with self.count_path.open("ab") as counts, self.kept_path.open("ab") as kept:
            for start, end in spans(0, num):
                block_N = occurrence_N[start:end]
                np.where(self.after_bos_N[start:end], block_N, count_N[start:end]).tofile(counts)
                (block_N > limit).tofile(kept)


def merge_runs(runs: list[Records], size: int) -> Iterator[Records]:
    """Merge runs of ascending distinct keys; occurrences of equal keys are summed.

    At most `size` records of each run are held.  A step takes all that is not above the least of the
    buffers' last keys: beyond it, a run might still bring more of the same.
    """
    at = [0] * len(runs)
    while any(start < len(run) for start, run in zip(at, runs, strict=True)):
        buffers = [np.array(run[start : start + size]) for start, run in zip(at, runs, strict=True)]
        bound = min(buffer["key"][-1] for buffer in buffers if len(buffer))
        taken = [int(np.searchsorted(buffer["key"], bound, side="right")) for buffer in buffers]
        at = [start + num for start, num in zip(at, taken, strict=True)]
        yield _merged(np.concatenate([buffer[:num] for buffer, num in zip(buffers, taken, strict=True)]))


def _merged(records: Any) -> Records:
    records = records[np.argsort(records["key"], kind="stable")]
    is_new = np.ones(len(records), bool)
    is_new[1:] = records["key"][1:] != records["key"][:-1]
    first = np.flatnonzero(is_new)
    merged: Records = records[first]
    merged["occurrence"] = np.add.reduceat(records["occurrence"], first)
    return merged
