"""Packed tensors and stores: equal to what the preparer's own collate gives."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from crashing import FilePreparer, ReversedPreparer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence

from sensorium.core.errors import DataError, ModelError
from sensorium.core.types import Media
from sensorium.data.packed import PackedTensors, PackedWriter, Segment
from sensorium.data.stores import LazyStore, ListStore, PackedStore

DTYPES = [torch.uint8, torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.float32]


def packed(values, folder=None) -> PackedTensors:
    writer = PackedWriter(folder)
    for value in values:
        writer.add(value)
    return PackedTensors.of(writer.finish())


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    tail=st.sampled_from([(), (3,), (2, 2)]),
    dtype=st.sampled_from(DTYPES),
    on_disk=st.booleans(),
    data=st.data(),
)
def test_tensors_come_back_and_pad_with_zeros(tmp_path_factory, lengths, tail, dtype, on_disk, data):
    values = [(torch.rand(length, *tail) * 100).to(dtype) for length in lengths]
    folder = tmp_path_factory.mktemp("packed") if on_disk else None
    for tensors in (packed(values, folder), pickle.loads(pickle.dumps(packed(values, folder)))):
        assert len(tensors) == len(values)
        for unit, value in enumerate(values):
            assert tensors[unit].dtype == dtype
            assert torch.equal(tensors[unit], value)
        units = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=8))
        result, mask = tensors.padded(np.array(units))
        assert result.dtype == dtype
        assert torch.equal(result, pad_sequence([values[unit] for unit in units], batch_first=True))
        length = torch.tensor([lengths[unit] for unit in units])
        assert torch.equal(mask, torch.arange(result.shape[1]) < length[:, None])


def test_segments_join(tmp_path):
    parts = [[torch.arange(3), torch.arange(1)], [torch.arange(10, 12)]]
    segments = []
    for number, values in enumerate(parts):
        (tmp_path / str(number)).mkdir()
        packed(values, tmp_path / str(number))
        segments.append(Segment.open(tmp_path / str(number)))
    joined = PackedTensors(segments, np.array([1, 0, 0]), np.array([0, 1, 0]))
    result, mask = joined.padded(np.array([0, 1, 2]))
    assert result.tolist() == [[10, 11, 0], [0, 0, 0], [0, 1, 2]]
    assert mask.sum(1).tolist() == [2, 1, 3]
    assert torch.equal(joined[0], torch.tensor([10, 11]))
    with pytest.raises(IndexError):
        joined[3]


def test_writing_into_a_fetched_tensor_changes_no_file(tmp_path):
    packed([torch.arange(3)], tmp_path)
    PackedTensors.of(Segment.open(tmp_path))[0].zero_()
    assert PackedTensors.of(Segment.open(tmp_path))[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "odd",
    [
        torch.tensor(1),
        torch.zeros(2, 4),
        torch.zeros(2, 3, dtype=torch.float64),
        torch.zeros(2, 3, dtype=torch.complex64),
    ],
)
def test_tensors_that_do_not_fit_are_refused(odd):
    writer = PackedWriter()
    writer.add(torch.zeros(2, 3))
    with pytest.raises(DataError, match=r"where float32 \(T, 3\) is kept"):
        writer.add(odd)


def test_files_that_do_not_fit_are_refused(tmp_path):
    packed([torch.arange(3)], tmp_path)
    layout = json.loads((tmp_path / "layout.json").read_text())
    for broken in ({"byte_order": "other"}, {"dtype": "void"}, {"tail": [9]}):
        (tmp_path / "layout.json").write_text(json.dumps(layout | broken))
        with pytest.raises(ModelError):
            Segment.open(tmp_path)
    (tmp_path / "layout.json").unlink()
    with pytest.raises(ModelError):
        Segment.open(tmp_path)


MEDIA = [Media(data=data) for data in (b"abcdef", b"ghi", b"jklm")]


@pytest.mark.parametrize("preparer", [FilePreparer(), FilePreparer(ragged=True), ReversedPreparer()])
def test_every_store_gives_what_collate_gives(preparer):
    values = [preparer(item) for item in MEDIA]
    stores = [PackedStore(packed(values), preparer), ListStore(values, preparer), LazyStore(MEDIA, preparer)]
    for units in ([0], [2, 1], [0, 1, 2, 0]):
        expected, mask = preparer.collate([values[unit] for unit in units])
        for store in stores:
            fetched = store.fetch(np.array(units))
            assert fetched.values.dtype == expected.dtype
            assert torch.equal(fetched.values, expected)
            assert (fetched.mask is None) == (mask is None)
            assert mask is None or torch.equal(fetched.mask, mask)
            assert not fetched.failures
    for store in stores:
        assert store.fetch(np.array([], np.int64)).values.shape[0] == 0


def test_a_lazy_store_tells_what_failed():
    fetched = LazyStore([*MEDIA, Media(data=b"bad")], FilePreparer()).fetch(np.array([1, 3, 0]))
    assert fetched.values.tolist() == [list(b"ghi"), list(b"abc")]
    assert list(fetched.failures) == [1]
    assert "is bad" in fetched.failures[1]
