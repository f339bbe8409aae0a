"""Text files as tables: lines, windows, and their parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensorium.core.errors import DataError
from sensorium.data.readers import BadLine, Row, TableSpec, open_rows
from sensorium.data.readers_windows import WINDOW


def rows(spec: str, folder: Path) -> list[Row | BadLine]:
    return list(open_rows(TableSpec.parse(spec, folder)).rows)


def test_lines_are_rows_and_blank_ones_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two\n\n  drei \nvier")
    assert rows("lines:a.txt", tmp_path) == [
        Row(1, {"text": "one two"}),
        Row(3, {"text": "drei"}),
        Row(4, {"text": "vier"}),
    ]


@pytest.mark.parametrize("length", [1, WINDOW - 1, WINDOW, WINDOW + 1, 10 * WINDOW + 7])
def test_windows_and_parts_join_to_the_text(tmp_path: Path, length: int) -> None:
    text = "".join(chr(97 + i * i % 23) for i in range(length)) + " ends\n"
    (tmp_path / "a.txt").write_text(text)

    def joined(spec: str) -> str:
        return "".join(row.cells["text"] for row in rows(spec, tmp_path) if isinstance(row, Row))

    assert joined("windows:a.txt") == text
    assert joined("windows:a.txt/train") == text[: int(0.9 * len(text))]
    assert joined("windows:a.txt/train") + joined("windows:a.txt/validation") == text
    if length > WINDOW:  # else a part of a few letters may be empty
        assert joined("windows:a.txt/fit") + joined("windows:a.txt/held-out") == joined("windows:a.txt/train")
    assert all(len(row.cells["text"]) <= WINDOW for row in rows("windows:a.txt", tmp_path) if isinstance(row, Row))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe"])
def test_a_file_without_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError):
        rows("windows:a.txt", tmp_path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks its file.*none\.txt"):
        rows("windows:none.txt/train", tmp_path)
