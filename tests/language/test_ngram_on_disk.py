"""Counting on disk gives the tables of counting in memory, number for number."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.core.vocabulary import BOS, EOS, UNK, Vocab
from sensorium.language import kneser_ney, ngram_arrays, ngram_on_disk, ngram_pruning, ngram_tables
from sensorium.language.ngram import Ngram
from sensorium.language.ngram_arrays import DiskArrays
from sensorium.language.ngram_counts import count_joined
from sensorium.language.ngram_on_disk import RECORD, count_on_disk, merge_runs

VOCAB = Vocab.of("abcde")
bodies = st.lists(st.lists(st.integers(UNK, len(VOCAB) - 1), max_size=7), min_size=1, max_size=14)


def joined(bodies):
    return np.array([i for body in bodies for i in (BOS, *body, EOS)])


def in_blocks(bodies, num):
    return [joined(bodies[start : start + num]) for start in range(0, len(bodies), num)]


@pytest.fixture
def tiny_spans(monkeypatch):
    """Walk in spans of 3, so that every seam between spans is crossed."""

    def spans(start, end, size=3):
        for at in range(start, end, 3):
            yield at, min(at + 3, end)

    for module in (kneser_ney, ngram_arrays, ngram_on_disk, ngram_pruning, ngram_tables):
        monkeypatch.setattr(module, "spans", spans)
    monkeypatch.setattr(kneser_ney, "BLOCK", 3)


@settings(max_examples=40)
@given(bodies=bodies, num=st.integers(1, 6), order=st.integers(1, 4), prune=st.sampled_from([(), (0, 1)]))
def test_counts_are_those_of_memory(bodies, num, order, prune, tmp_path_factory):
    prune = prune[:order]
    want = count_joined(joined(bodies), order, len(VOCAB), prune)
    arrays = DiskArrays(tmp_path_factory.mktemp("counts"))
    found = count_on_disk(in_blocks(bodies, num), order, len(VOCAB), arrays, prune)
    assert found.level_start == want.level_start
    for name in ("key_N", "suffix_N", "count_N"):
        np.testing.assert_array_equal(getattr(found, name), getattr(want, name), err_msg=name)
    assert (found.kept_N is None) == (want.kept_N is None)
    if want.kept_N is not None:
        np.testing.assert_array_equal(found.kept_N, want.kept_N)


@pytest.mark.parametrize("prune", [(), (0, 1, 1, 2)])
def test_tables_are_bit_equal_whatever_the_spans(prune, tiny_spans, tmp_path):
    generator = np.random.default_rng(0)
    bodies = [generator.zipf(1.6, 9).clip(1, 5) + UNK for _ in range(60)]
    config = Ngram.Config(order=4, prune=prune)
    on_disk = Ngram(config, VOCAB, width=1).fit_on_disk(in_blocks(bodies, 7), tmp_path)
    with pytest.MonkeyPatch.context() as whole:
        for module in (kneser_ney, ngram_pruning, ngram_tables):
            whole.setattr(module, "spans", lambda start, end, size=0: iter([(start, end)] if end > start else []))
        whole.setattr(kneser_ney, "BLOCK", 1 << 18)
        in_memory = Ngram(config, VOCAB, width=1).fit_joined(joined(bodies))
    assert in_memory.level_start_[-1] > 150
    for name, buffer in in_memory.named_buffers():
        if name in ("suffix_", "occurrence_"):
            continue  # what was counted is kept in memory alone
        assert torch.equal(buffer, on_disk.get_buffer(name)), name


@settings(max_examples=60)
@given(
    runs=st.lists(st.dictionaries(st.integers(0, 40), st.integers(1, 9), max_size=20), min_size=1, max_size=5),
    size=st.integers(1, 5),
)
def test_runs_merge_into_one_with_summed_occurrences(runs, size):
    arrays = []
    for run in runs:
        records = np.zeros(len(run), RECORD)
        records["key"] = sorted(run)
        records["occurrence"] = [run[key] for key in sorted(run)]
        arrays.append(records)
    merged = list(merge_runs(arrays, size))
    want = {key: sum(run.get(key, 0) for run in runs) for key in sorted(set().union(*runs))}
    found = [
        pair for block in merged for pair in zip(block["key"].tolist(), block["occurrence"].tolist(), strict=True)
    ]
    assert found == list(want.items())
    assert all(len(block) <= size * len(runs) for block in merged)


def test_no_block_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no sequences"):
        count_on_disk([], 2, len(VOCAB), DiskArrays(tmp_path))


def test_a_bad_block_is_an_error(tmp_path):
    with pytest.raises(DataError, match="sequence 1: has id 99"):
        count_on_disk([np.array([BOS, EOS, BOS, 99, EOS])], 2, len(VOCAB), DiskArrays(tmp_path))
