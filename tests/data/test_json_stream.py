"""Objects read member by member, with windows of a few characters and of millions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.data import json_stream
from sensorium.data.json_stream import Member, elements, members

SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8))
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def brute_force(value: dict[str, object]) -> list[Member]:
    found = []
    for key, part in value.items():
        if isinstance(part, list) and part:
            found += [Member(key, i, one) for i, one in enumerate(part, start=1)]
        else:
            found.append(Member(key, 0, part))
    return found


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=4), VALUE, max_size=4), st.integers(1, 9), st.sampled_from([None, 1]))
def test_the_same_members_as_reading_all_at_once(tmp_path_factory, value, chunk, indent):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(value, ensure_ascii=chunk % 2 == 0, indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        assert list(members(path)) == brute_force(value)


TEXT = json.dumps({"info": {"é": "\\u00e9"}, "images": [{"id": 1, "n": -12.5e3}, {"id": 2}], "more": [], "x": 17})


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_cut_short_anywhere_it_is_said_to_be(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    path = tmp_path / "a.json"
    data = TEXT.encode()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(DataError, match="cut short|is empty|not UTF-8|is not JSON"):
            list(members(path))
    path.write_bytes(data[:50])
    with pytest.raises(DataError, match=r"a\.json: is cut short at byte 50, in record 1 of 'images'"):
        list(members(path))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b'{"a": [1, 2}', r"record 2 of 'a': '}' stands where"),
        (b'{"a": [1, nul, 3]}', r"not JSON in record 2 of 'a': Expecting value"),
        (b'{"a": [{"b" 1}]}', r"not JSON in record 1 of 'a': Expecting ':'"),
        (b'{"a": [1,]}', "record 2 of 'a': Expecting value"),
        (b'{"a": 1} x', "something behind its end"),
        (b"[1, 2]", "'\\[' stands where"),
        (b'{"a": ["\xff"]}', "is not UTF-8 text near byte 8"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply|cut short"),
        (b'{"a": [' + b"9" * 5000 + b"]}", "digits"),
        (b"", "is empty"),
    ],
)
def test_faults_are_named(tmp_path, text, told):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(DataError, match=told):
        list(members(tmp_path / "a.json"))


def test_a_value_without_end_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "MAX_VALUE", 1000)
    monkeypatch.setattr(json_stream, "_CHUNK", 64)
    (tmp_path / "a.json").write_text('{"a": ["' + "x" * 100_000)
    with pytest.raises(DataError, match="a value of more than"):
        list(members(tmp_path / "a.json"))


def test_one_list(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text('{"a": [5, 6], "b": 1, "c": []}')
    assert list(elements(path, "a")) == [(1, 5), (2, 6)]
    assert list(elements(path, "c")) == []
    with pytest.raises(DataError, match="has no 'd'"):
        list(elements(path, "d"))
    with pytest.raises(DataError, match="'b' are no list"):
        list(elements(path, "b"))
