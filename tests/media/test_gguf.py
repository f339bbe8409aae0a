"""GGUF: what is read is what the specification says, and damage is named, whatever the bytes."""

import os
import struct

import gguf_writer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import ModelError
from sensorium.media import gguf
from sensorium.media.gguf import Gguf
from sensorium.media.gguf_blocks import KINDS

METADATA = {
    "general.architecture": "llama",
    "text": "grüße",
    "yes": True,
    "small": ("i8", -5),
    "large": ("u64", 2**63),
    "half": 0.5,
    "list": ["a", "", "c"],
    "numbers": [("i32", -1), ("i32", 7)],
    "truths": [True, False],
    "nested": [[1, 2], [3]],
    "none": [],
}
TENSORS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": gguf_writer.random_blocks((3, 64), 3),
    "c": gguf_writer.random_blocks((2, 32), 8),
}


def test_metadata_and_tensors_come_back(tmp_path):
    found = Gguf(gguf_writer.write(tmp_path / "x.gguf", METADATA, TENSORS))
    assert found.metadata["large"] == 2**63
    assert found.metadata["small"] == -5
    assert found.metadata["yes"] is True
    plain = {
        key: METADATA[key] for key in ("general.architecture", "text", "half", "list", "truths", "nested", "none")
    }
    assert {key: found.metadata[key] for key in plain} == plain
    assert found.metadata["numbers"] == [-1, 7]
    np.testing.assert_array_equal(found.read("a"), TENSORS["a"])
    assert found.read("b").shape == (3, 64)
    with pytest.raises(ModelError, match="no tensor 'd'"):
        found.read("d")


def test_an_alignment_of_its_own(tmp_path):
    metadata = METADATA | {"general.alignment": 64}
    found = Gguf(gguf_writer.write(tmp_path / "x.gguf", metadata, TENSORS, alignment=64))
    np.testing.assert_array_equal(found.read("a"), TENSORS["a"])


def by_hand(kind: int, block: bytes) -> list[float]:
    """One block of 32, value by value, as ggml-quants.c writes it."""
    d = float(np.frombuffer(block[:2], "<f2")[0])
    m = float(np.frombuffer(block[2:4], "<f2")[0])
    first = {2: 2, 3: 4, 6: 6, 7: 8, 8: 2}[kind]
    if kind == 8:
        return [d * struct.unpack("b", block[first + i : first + i + 1])[0] for i in range(32)]
    high = int.from_bytes(block[first - 4 : first], "little") if kind in (6, 7) else 0
    values = []
    for i in range(32):
        byte = block[first + i % 16]
        q = (byte & 15 if i < 16 else byte >> 4) + 16 * (high >> i & 1)
        values.append({2: d * (q - 8), 3: d * q + m, 6: d * (q - 16), 7: d * q + m}[kind])
    return values


@pytest.mark.parametrize("kind", [2, 3, 6, 7, 8])
def test_blocks_of_32_by_hand(kind):
    _, _, raw = gguf_writer.random_blocks((20, 32), kind)
    size = KINDS[kind].num_bytes
    got = KINDS[kind].dequantise(np.frombuffer(raw, np.uint8).reshape(-1, size))
    want = [by_hand(kind, raw[i : i + size]) for i in range(0, len(raw), size)]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: KINDS[kind].name)
def test_every_block_equals_the_gguf_package(kind):
    quants = pytest.importorskip("gguf.quants", reason="the gguf package is not installed")
    constants = pytest.importorskip("gguf.constants")
    _, _, raw = gguf_writer.random_blocks((16, 256), kind)
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, KINDS[kind].num_bytes)
    if kind < 2:
        want = np.frombuffer(raw, "<f4" if kind == 0 else "<f2").astype(np.float32)
    else:
        want = quants.dequantize(blocks, constants.GGMLQuantizationType(kind))
    np.testing.assert_array_equal(KINDS[kind].dequantise(blocks).ravel(), want.ravel())


WHOLE = gguf_writer.gguf_bytes(METADATA, TENSORS)


def opened(folder, raw: bytes) -> None:
    """Read all of it, or fail as we say we do."""
    path = folder / "damaged.gguf"
    path.write_bytes(raw)
    try:
        found = Gguf(path)
    except ModelError:
        return
    with np.errstate(all="ignore"):
        for name in found.tensors:
            found.read(name)


@pytest.mark.parametrize("length", range(0, len(WHOLE), 7))
def test_a_file_cut_short_is_named(tmp_path, length):
    path = tmp_path / "cut.gguf"
    path.write_bytes(WHOLE[:length])
    with pytest.raises(ModelError, match=r"cut\.gguf"):
        Gguf(path)


@settings(max_examples=200, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_changed_bytes_raise_nothing_but_our_errors(tmp_path_factory, changes):
    raw = bytearray(WHOLE)
    for place, byte in changes:
        raw[place] = byte
    opened(tmp_path_factory.getbasetemp(), bytes(raw))


@settings(max_examples=100, deadline=None)
@given(rest=st.binary(max_size=200))
def test_any_bytes_raise_nothing_but_our_errors(tmp_path_factory, rest):
    opened(tmp_path_factory.getbasetemp(), b"GGUF\3\0\0\0" + rest)


HUGE = 2**63 - 1


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "cut short"),
        (b"PK\3\4" + WHOLE[4:], "not a GGUF"),
        (gguf_writer.gguf_bytes({}, {}, version=1), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE), "cut short"),
        (b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0), "cut short"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, HUGE) + bytes(64), "name of"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + gguf_writer.text("k") + struct.pack("<IIQ", 9, 4, HUGE),
            "cut short",
        ),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + gguf_writer.text("k") + struct.pack("<IIQ", 9, 8, HUGE),
            "cut short",
        ),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + gguf_writer.text("k") + struct.pack("<IQ", 13, 0),
            "unknown type 13",
        ),
        (gguf_writer.gguf_bytes({"a": [[[[[[1]]]]]]}, {}), "deeper"),
        (gguf_writer.gguf_bytes({"general.alignment": 0}, {}), "alignment"),
        (gguf_writer.gguf_bytes({"general.alignment": "x"}, {}), "alignment"),
        (gguf_writer.gguf_bytes({}, {"t": ((4, 32), 99, b"")}), "kind 99"),
        (gguf_writer.gguf_bytes({}, {"t": ((4, 33), 3, bytes(80))}), "in blocks of 32"),
        (gguf_writer.gguf_bytes({}, {"t": ((0, 32), 3, b"")}), "in blocks of 32"),
        (gguf_writer.gguf_bytes({}, {"t": ((1,) * 5, 0, bytes(4))}), "5 dimensions"),
        (gguf_writer.gguf_bytes({}, {"t": ((2**40, 2**40), 0, bytes(4))}), "ends before tensor 't'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, raw, fault):
    path = tmp_path / "x.gguf"
    path.write_bytes(raw)
    with pytest.raises(ModelError, match=fault):
        Gguf(path)


def test_names_come_once(tmp_path):
    one = gguf_writer.gguf_bytes({"key1": 1, "key2": 2}, {})
    with pytest.raises(ModelError, match="'key1' twice"):
        Gguf(_written(tmp_path, one.replace(b"key2", b"key1")))
    two = gguf_writer.gguf_bytes({}, {"tensor1": np.ones(2), "tensor2": np.ones(2)})
    with pytest.raises(ModelError, match="'tensor1' twice"):
        Gguf(_written(tmp_path, two.replace(b"tensor2", b"tensor1")))
    with pytest.raises(ModelError, match="UTF-8"):
        Gguf(_written(tmp_path, one.replace(b"key2", b"key\xff")))


def test_no_such_file(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        Gguf(tmp_path / "none.gguf")


def _written(folder, raw):
    folder.mkdir(exist_ok=True)
    path = folder / "x.gguf"
    path.write_bytes(raw)
    return path


def test_the_header_of_a_file_that_stays_as_it_was_is_read_once(tmp_path, monkeypatch):
    read, whole = [], gguf._read_header

    def counted(cursor):
        read.append(cursor)
        return whole(cursor)

    monkeypatch.setattr(gguf, "_read_header", counted)
    monkeypatch.setattr(gguf, "_HEADERS", {})
    path = _written(tmp_path, gguf_writer.gguf_bytes({"key": 1}, {"t": np.ones(2)}))
    assert [Gguf(path).metadata["key"] for _ in range(2)] == [1, 1]
    assert len(read) == 2, "just written, it may be written again in the same tick of the clock"
    monkeypatch.setattr(gguf, "_SETTLED_NS", -(10**18))
    found = [Gguf(path) for _ in range(3)]
    assert len(read) == 3
    assert all(one.metadata == {"key": 1} and one.read("t").tolist() == [1, 1] for one in found)
    other = _written(tmp_path / "other", gguf_writer.gguf_bytes({"key": 2}, {"t": np.zeros(2)}))
    os.utime(other, ns=(0, path.stat().st_mtime_ns))
    other.replace(path)
    assert Gguf(path).metadata == {"key": 2}
    assert Gguf(path).read("t").tolist() == [0, 0]
    for i in range(9):
        Gguf(_written(tmp_path / str(i), gguf_writer.gguf_bytes({"key": i}, {})))
    assert len(gguf._HEADERS) == gguf._MOST_HEADERS
