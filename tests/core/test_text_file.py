"""The one opener of text files: marks, encodings, line ends and sizes."""

from __future__ import annotations

import ast
import gzip
import io
import os
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core import text_file
from sensorium.core.errors import DataError

TEXT = "the cat\u00a0sat\nil a dit\u2028: oui\x85\x0b\x0cfin\n\n日本\n"
LINES = ["the cat\u00a0sat", "il a dit\u2028: oui\x85\x0b\x0cfin", "", "日本"]


def saved(folder, data, name="t.txt"):
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


FORMS = {
    "plain": TEXT,
    "mark": "\ufeff" + TEXT,
    "two marks": "\ufeff\ufeff" + TEXT,
    "joined files": TEXT.replace("\n日", "\n\ufeff日"),
    "CRLF": TEXT.replace("\n", "\r\n"),
    "CR": TEXT.replace("\n", "\r"),
    "CRCRLF": TEXT.replace("\n", "\r\r\n"),
    "no end": TEXT[:-1],
    "gzip": gzip.compress(TEXT.encode()),
    "gzip with mark": gzip.compress(("\ufeff" + TEXT).encode()),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_text_in_any_form_has_the_same_lines(tmp_path, form):
    path = saved(tmp_path, FORMS[form])
    assert list(text_file.lines(path)) == list(enumerate(LINES, start=1))
    assert [line.fault for line in text_file.lines_with_faults(path)] == [""] * len(LINES)
    if form != "joined files":
        assert text_file.whole(path).rstrip("\n") == TEXT.rstrip("\n")


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.sampled_from("a\n\r\u2028é\ufeff"), max_size=30), chunk=st.integers(1, 5))
def test_where_the_file_is_cut_into_chunks_changes_nothing(tmp_path_factory, text, chunk):
    path = tmp_path_factory.mktemp("t") / "t.txt"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "_CHUNK", chunk)
        kept = [line.text for line in text_file.lines_with_faults(path, keep_ends=True)]
        parted = [line for _, line in text_file.lines(path)]
    plain = text.lstrip("\ufeff")
    assert kept == list(io.StringIO(plain, newline=""))
    assert parted == [line for _, line in text_file.lines(path)]
    assert "".join(parted).replace("\ufeff", "") == "".join(kept).translate({13: None, 10: None, 0xFEFF: None})


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (TEXT.encode("utf-16"), "is UTF-16 text"),
        (TEXT.encode("utf-32"), "is UTF-32 text"),
        *[("text,label\nhello,x\n".encode(e), f"is {e[:6].upper()} text") for e in ("utf-16-le", "utf-16-be")],
        *[("text,label\nhello,x\n".encode(e), f"is {e[:6].upper()} text") for e in ("utf-32-le", "utf-32-be")],
        (gzip.compress(TEXT.encode("utf-16")), "is UTF-16 text"),
        (b"PK\x03\x04\x14\0[Content_Types].xml", "a ZIP archive, such as a spreadsheet's .xlsx"),
        (gzip.compress(TEXT.encode())[:-9], "cannot be unpacked"),
    ],
)
def test_what_is_no_utf8_text_is_refused_with_the_cure(tmp_path, data, told):
    for read in (lambda path: list(text_file.lines(path)), text_file.whole):
        with pytest.raises(DataError, match=told) as caught:
            read(saved(tmp_path, data))
        assert caught.value.advice


def test_a_byte_of_another_encoding_is_a_fault_of_its_line(tmp_path):
    path = saved(tmp_path, "one\ncaf\u00e9 cr\u00e8me\r\ntwo\n".encode("cp1252"))
    assert [(line.number, line.fault) for line in text_file.lines_with_faults(path)] == [
        (1, ""),
        (2, "is not UTF-8 at byte 3 (0xe9, 'é' in Windows-1252; save it as UTF-8)"),
        (3, ""),
    ]
    for read in (lambda path: list(text_file.lines(path)), text_file.whole):
        with pytest.raises(DataError, match=r"t\.txt:2: is not UTF-8 at byte 3 .*save it as UTF-8"):
            read(path)


def test_sizes_are_capped(tmp_path, monkeypatch):
    monkeypatch.setattr(text_file, "MAX_LINE_BYTES", 8)
    for chunk in (3, 1 << 20):
        monkeypatch.setattr(text_file, "_CHUNK", chunk)
        path = saved(tmp_path, "ab\n" + "x" * 50 + "\ncd\n" + "y" * 20)
        found = [(line.text, line.fault != "") for line in text_file.lines_with_faults(path)]
        assert found == [("ab", False), ("", True), ("cd", False), ("", True)]
    with pytest.raises(DataError, match="is larger than"):
        text_file.whole(path, max_bytes=10)


def test_a_pipe_is_read(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("\ufeffone\ntwo\n",))
    writer.start()
    assert list(text_file.lines(path)) == [(1, "one"), (2, "two")]
    writer.join()


def test_blanks_tabs_and_line_ends_alone_part_fields():
    assert text_file.fields(" 10\u00a0000 \t CD\u3000x\x85y\x0bz \r\n") == ["10\u00a0000", "CD\u3000x\x85y\x0bz"]


# Modules that open text in another way, and why they may.
OTHERWISE = {
    "core/text_file.py": "the opener itself",
    "core/commit.py": "manifests, which this program writes",
    "cli/environment.py": "files of the kernel",
    "data/units.py": "files of the kernel",
    "data/synthesis/speech.py": "the voices of espeak-ng, in encodings of their own",
    "demo/run.py": "a file of this package",
    "language/arpa.py": "to write",
    "report/page.py": "a file of this package",
    "data/readers_delimited.py": "csv.reader, over the opener's lines",
}
WRITTEN_HERE = {  # files that this program alone writes, into a run, a model or a cache
    "data/cache.py", "data/keras_file.py", "data/packed.py", "data/published.py", "data/readers_av_digits.py",
    "data/table.py", "data/text_preparer.py", "data/token_features.py", "data/tokenizers/saved.py",
    "model/saving.py", "model/saving_tasks.py", "training/checkpoint.py", "training/metrics_log.py",
    "workflow/compare.py", "workflow/lessons.py", "workflow/onnx_model.py", "workflow/reporting.py",
    "workflow/reporting_again.py", "workflow/run_folder.py", "workflow/text_ngram.py",
}  # fmt: skip
SOURCE = Path(text_file.__file__).parents[1]


def opens_text(call: ast.Call) -> str:
    """Say how a call opens or parts text, '' for one that does not."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
    modes = " ".join(ast.unparse(each) for each in (*call.args, *(word.value for word in call.keywords)))
    if name in ("read_text", "TextIOWrapper") or (owner, name) in (
        *[("csv", "reader"), ("csv", "DictReader"), ("json", "load"), ("tomllib", "load"), ("codecs", "open")],
    ):
        return name
    if name == "open" and owner not in ("os", "Image", "av", "wave", "tarfile", "zipfile", "gzip"):
        is_bytes = re.search(r"'[rwax]*b\+?'|'[wax]\+?'", modes) is not None
        is_path = not owner or (owner.islower() and owner.split(".")[-1].endswith(("path", "file", ")")))
        return name if is_path and not is_bytes else ""
    return name if name == "splitlines" and "str(" not in owner else ""


def test_no_file_of_a_user_is_read_as_text_in_another_way():
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        name = path.relative_to(SOURCE).as_posix()
        if name not in {*OTHERWISE, *WRITTEN_HERE} and (ways := [w for call in calls if (w := opens_text(call))]):
            found[name] = ways
    assert found == {}, "take sensorium.core.text_file, or say here why not"
    assert all((SOURCE / name).is_file() for name in {*OTHERWISE, *WRITTEN_HERE})


def test_every_text_that_is_written_says_its_encoding():
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "write_text"
            ):
                assert any(word.arg == "encoding" for word in node.keywords), f"{path}:{node.lineno}"


@given(st.text(st.sampled_from(" \t\r\n\x0b\x0c\x1c\x85\u00a0\u2028\u3000ab"), max_size=20))
def test_fields_are_what_stands_between_blanks_tabs_and_line_ends(text):
    assert text_file.fields(text) == re.findall(r"[^ \t\r\n]+", text)
