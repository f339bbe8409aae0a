"""Configs: round trips, and errors that name the place and the key that was meant."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from sensorium.core.config import Section, Source, override, parse_toml, read_toml, write_toml
from sensorium.core.errors import ConfigError, DataError

keys = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True), st.text(st.characters(codec="utf-8"), max_size=4)
)
scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
values = st.recursive(
    scalars,
    lambda parts: st.one_of(st.lists(parts, max_size=3), st.dictionaries(keys, parts, max_size=3)),
    max_leaves=10,
)
plain_values = st.recursive(scalars, lambda parts: st.lists(parts, max_size=3), max_leaves=5)
tables = st.recursive(
    st.dictionaries(keys, plain_values, max_size=4),
    lambda parts: st.dictionaries(keys, st.one_of(plain_values, parts), max_size=4),
    max_leaves=6,
)


@given(tables)
def test_what_is_written_reads_back_the_same(table):
    text = write_toml(table)
    assert tomllib.loads(text) == table
    assert parse_toml(text)[0] == table


@given(st.dictionaries(keys, st.one_of(values, st.none()), max_size=4))
def test_sections_inside_lists_and_absent_values(table):
    text = write_toml(table)
    assert tomllib.loads(text) == {key: value for key, value in table.items() if value is not None}


@given(tables)
def test_a_written_key_has_its_place(table):
    text = write_toml(table)
    lines = text.split("\n")
    _, source = parse_toml(text, "x.toml")
    for key in table:
        if re.fullmatch(r"[A-Za-z0-9_-]+", key):
            line, column = source.places[key]
            assert lines[line - 1][column - 1 :].startswith(key)


def test_what_toml_cannot_hold_is_refused():
    with pytest.raises(DataError, match="cannot hold a set"):
        write_toml({"a": {1}})


class Inner(Section):
    size: int = Field(4, ge=1)
    name: str = "x"


class Outer(Section):
    rate_hz: int = 16000
    inner: Inner = Inner()
    needed: int


TEXT = """\
needed = 1
rate_hz = 8000

[inner]
  size = 2
"""


def parse(text):
    values, source = parse_toml(text, "run.toml")
    return Outer.parse(values, source)


def test_a_valid_section_is_parsed_and_frozen():
    section = parse(TEXT)
    assert (section.rate_hz, section.inner.size, section.inner.name) == (8000, 2, "x")
    with pytest.raises(ValueError, match="frozen"):
        section.rate_hz = 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT.replace("rate_hz", "rate_hx"), r"run.toml:2:1: unknown key 'rate_hx' \(did you mean 'rate_hz'\?\)"),
        (TEXT.replace("size", "sise"), r"run.toml:5:3: unknown key 'inner.sise' \(did you mean 'size'\?\)"),
        (TEXT.replace("size", "qqqqqq"), r"run.toml:5:3: unknown key 'inner.qqqqqq' \(known here: name, size\)"),
        (TEXT.replace("size = 2", "size = 0"), r"run.toml:5:3: 'inner.size': .*greater than or equal to 1, not 0"),
        (TEXT.replace("8000", "'fast'"), r"run.toml:2:1: 'rate_hz': .*valid integer.*, not 'fast'"),
        (TEXT.replace("needed = 1\n", ""), r"run.toml: 'needed' is missing"),
        (TEXT.replace("[inner]", "[inner"), r"run.toml:4:7: "),
        ("a = 1\na = 2\n", r"run.toml:2:\d+: "),
    ],
)
def test_an_error_names_file_line_column_and_what_was_meant(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse(text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "key", "place"),
    [
        ('a = 1\n[b]\n"c d" = 2\n', "b.c d", (3, 1)),
        ("[[x.y]]\nk = 1\n[[x.y]]\nk = 2\n", "x.y.k", (2, 1)),
        ("[ a . b ]\n  k.l = 1\n", "a.b.k.l", (2, 3)),
        ("a.b = 1\n", "a.b", (1, 1)),
    ],
)
def test_places_of_less_common_spellings(text, key, place):
    assert parse_toml(text)[1].places[key] == place


def test_text_inside_a_value_is_no_key():
    text = 'a = """\nb = 1\n[c]\n"""\nd = [\n  "e = 3",\n]\nb = 2\n'
    values, source = parse_toml(text, "x.toml")
    assert set(values) == {"a", "b", "d"}
    assert source.where("b") == "x.toml:8:1"
    assert source.where("d") == "x.toml:5:1"


def test_an_unknown_place_falls_back_to_what_encloses_it():
    source = Source("x.toml", {"a": (1, 1), "a.b": (2, 3)})
    assert source.where("a.b.c") == "x.toml:2:3"
    assert source.where("a.z") == "x.toml:1:1"
    assert source.where("z") == "x.toml"


def test_overrides_are_read_as_toml_and_leave_the_original_alone():
    values = {"a": {"b": 1, "list": [1]}}
    changed = override(values, ["a.b=2.5", "a.list=[1, 2]", "c.d=word", "e=true", "f.g=a=b"])
    assert changed == {"a": {"b": 2.5, "list": [1, 2]}, "c": {"d": "word"}, "e": True, "f": {"g": "a=b"}}
    assert values == {"a": {"b": 1, "list": [1]}}


@pytest.mark.parametrize(
    ("assignment", "fault"), [("a", "KEY=VALUE"), ("=1", "KEY=VALUE"), ("a.b.c=1", "not a section")]
)
def test_an_override_that_cannot_be_meant_is_refused(assignment, fault):
    with pytest.raises(ConfigError, match=rf"--set {assignment}.*{fault}"):
        override({"a": {"b": 1}}, [assignment])


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_any_override_value_is_a_value_or_an_error(text):
    assert "a" in override({}, [f"a={text}"])


def test_files_that_cannot_be_read_say_so(tmp_path: Path):
    with pytest.raises(ConfigError, match="no such config file"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"a = '\xe9'")
    with pytest.raises(ConfigError, match=r"latin\.toml:1: is not UTF-8 at byte 5 .*save it as UTF-8"):
        read_toml(tmp_path / "latin.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path)
    (tmp_path / "wide.toml").write_text("a = 1\n", encoding="utf-16")
    with pytest.raises(ConfigError, match=r"wide\.toml: is UTF-16 text \(save it as UTF-8\)"):
        read_toml(tmp_path / "wide.toml")


def test_a_config_begins_with_a_mark_or_not(tmp_path: Path):
    text = "[data]\r\ntrain = 'a.csv'\r\n"
    (tmp_path / "plain.toml").write_text(text, newline="")
    (tmp_path / "mark.toml").write_text("\ufeff" + text, newline="")
    plain, mark = (read_toml(tmp_path / f"{name}.toml") for name in ("plain", "mark"))
    assert mark[0] == plain[0] == {"data": {"train": "a.csv"}}
    assert mark[1].places == plain[1].places == {"data": (1, 2), "data.train": (2, 1)}
