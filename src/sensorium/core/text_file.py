"""The one opener of files that are read as text: tables, lists, configs, vectors, models.

Enters: the path of a file that anybody wrote with any program; gzip is unpacked.
Leaves: its lines or its whole text, always the same for the same words:

- a byte-order mark is no part of the text, neither the file's nor one that joining files left at a line's start;
- the encoding is UTF-8; UTF-16, UTF-32 and files that are no text are refused, and bytes of another encoding
  are a fault of their line, with the letter that Windows-1252 has for the byte;
- a line ends at LF, CRLF or CR and nowhere else: `str.splitlines` also parts at U+2028, \\x85, \\x0b and \\x0c,
  which are part of what people write;
- no line, and no file that is read whole, is larger than a cap.

Nothing in this program opens a text file of a user in another way (`tests/core/test_text_file.py` looks).
"""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from sensorium.core.errors import DataError

MAX_LINE_BYTES = 64_000_000
MAX_WHOLE_BYTES = 256_000_000
ADVICE = "save it as UTF-8"
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins whose content is kept elsewhere and was not fetched."""
PAGE = re.compile(rb"<!doctype html|<html|<head|<body|<script|<!--", re.IGNORECASE)
"""How a page begins that a server sent in place of the file that was asked for, such as one to sign in."""

_MARK, _MARK_BYTES = "\ufeff", b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
_HEAD_BYTES = 1 << 12
_LINE_END = re.compile(rb"\r*\n|\r")  # some programs write CR CR LF
_BEHIND_LINE_END = re.compile(rb"(?<=\n)|(?<=\r)(?!\n)")
_FIELD_ENDS = "\t\r\n"  # beside the blank
_STARTS = {
    b"\xff\xfe\0\0": "UTF-32 text",
    b"\0\0\xfe\xff": "UTF-32 text",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"PK\x03\x04": "a ZIP archive, such as a spreadsheet's .xlsx",
    b"\xd0\xcf\x11\xe0": "a binary document, such as a spreadsheet's .xls",
    b"%PDF-": "a PDF document",
}
_NUL_LANES: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "UTF-32 text",
    (True, True, True, False): "UTF-32 text",
    (False, True, False, True): "UTF-16 text",
    (True, False, True, False): "UTF-16 text",
}


class Line(NamedTuple):
    """One line: its number from 1, its text without the end, and why it cannot be used, or ''.

    Bytes that are not UTF-8 stand in `text` as lone surrogates; a line beyond the cap has no text.
    """

    number: int
    text: str
    fault: str = ""


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, text) of each line.

    Raises:
        DataError: no text in UTF-8, a line that is not, or one beyond the cap.
        OSError: no such file.
    """
    for number, text, fault in lines_with_faults(path):
        if fault:
            raise DataError(fault, where=f"{path}:{number}")
        yield number, text


def lines_with_faults(path: Path, *, keep_ends: bool = False) -> Iterator[Line]:
    """Yield each line, those that cannot be used with their fault, so that one bad line hides no other.

    Args:
        keep_ends: leave the line's end in its text, for formats in which a line's end may be part of a cell.

    Raises:
        DataError: the file as a whole is no text in UTF-8, or is cut short.
        OSError: no such file.
    """
    number = 1
    with opened(path) as file:
        for block in _blocks(file):
            texts = _plain_lines(block, keep_ends)
            if texts is not None:
                yield from map(Line, itertools.count(number), texts)
                number += len(texts)
                continue
            for raw in _raw_lines(block, keep_ends):
                yield _line(number, raw, "" if keep_ends else _MARK)
                number += 1


def whole(path: Path, max_bytes: int = MAX_WHOLE_BYTES) -> str:
    """Return the text of a file; its lines end in LF.

    Raises:
        DataError: no text in UTF-8, or larger than `max_bytes`.
        OSError: no such file.
    """
    with opened(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise DataError(f"is larger than {max_bytes / 1e6:,.0f} MB", where=str(path))
    return decoded(data, str(path))


def decoded(data: bytes, where: str) -> str:
    """Return the text of a file that has been read already, such as one in an archive, as `whole` does.

    Raises:
        DataError: no text in UTF-8.
    """
    _refuse_other_kinds(data[:_HEAD_BYTES], where)
    while data.startswith(_MARK_BYTES):
        data = data[len(_MARK_BYTES) :]
    data = _LINE_END.sub(b"\n", data)
    text = data.decode("utf-8", "surrogateescape")
    if not text.isascii() or "\0" in text:
        for number, raw in enumerate(data.split(b"\n"), start=1):
            if fault := _line(number, raw).fault:
                raise DataError(fault, where=f"{where}:{number}")
    return text


def refuse_page(path: Path) -> None:
    """Refuse a page of HTML where a table belongs.

    Raises:
        DataError: it is one, or no text in UTF-8.
        OSError: no such file.
    """
    with opened(path) as file:
        if PAGE.match(file.read(_HEAD_BYTES).lstrip()):
            advice = "fetch the file itself: a server sent this in its place, perhaps to sign in"
            raise DataError("is an HTML page, not a table", where=str(path), advice=advice)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file behind its byte-order mark, for a caller that decodes UTF-8 itself.

    Raises:
        DataError: not UTF-8 as a whole, or a damaged gzip.
        OSError: no such file.
    """
    with path.open("rb") as file, contextlib.ExitStack() as stack:
        text = cast(BinaryIO, file)
        if file.peek(len(_GZIP))[: len(_GZIP)] == _GZIP:
            text = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=file)))
        try:
            _begin(text, path)
            yield text
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"cannot be unpacked: {error}", where=str(path), advice="fetch it again") from None


def fields(text: str) -> list[str]:
    """Part `text` at blanks, tabs and line ends, and at no other white space.

    A no-break space or an ideographic blank is part of a word, as it is for KenLM, CoNLL and Kaldi.
    """
    for sign in _FIELD_ENDS:
        if sign in text:
            text = text.replace(sign, " ")
    return list(filter(None, text.split(" ")))  # thrice as fast as a pattern, for long rows of numbers


def _begin(file: BinaryIO, path: Path) -> None:
    """Refuse what is not UTF-8 as a whole; step over byte-order marks."""
    head: bytes = file.peek(_HEAD_BYTES)[:_HEAD_BYTES]  # type: ignore[attr-defined]  # both kinds have it; a pipe cannot seek
    _refuse_other_kinds(head, str(path))
    while head.startswith(_MARK_BYTES):
        file.read(len(_MARK_BYTES))
        head = head[len(_MARK_BYTES) :]


def _refuse_other_kinds(head: bytes, where: str) -> None:
    """Raise DataError where what begins so cannot be UTF-8 text."""
    kind = next((kind for start, kind in _STARTS.items() if head.startswith(start)), "")
    if not kind and len(head) >= 4:  # without a mark: of every four bytes, those at the same places are NUL
        lanes = [head[i::4] for i in range(4)]
        kind = _NUL_LANES.get(tuple(2 * lane.count(0) > len(lane) for lane in lanes), "")
    if kind:
        raise DataError(f"is {kind}", where=where, advice=ADVICE)
    if head.startswith(LFS_POINTER):
        advice = "run `git lfs pull`"
        raise DataError("is a Git LFS pointer, its content was never fetched", where=where, advice=advice)


def _blocks(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield runs of whole lines; None stands for one line beyond the cap, which is skipped over."""
    tail, is_skipping = b"", False
    while chunk := file.read(_CHUNK):
        while chunk.endswith(b"\r") and (more := file.read(1)):  # its LF may come yet
            chunk += more
        first = _LINE_END.search(chunk) if is_skipping else None
        if first is not None:
            yield None
            chunk, is_skipping = chunk[first.end() :], False
        end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
        if end:
            yield tail + chunk[:end]
            tail = b""
        if not is_skipping:
            tail += chunk[end:]
        if len(tail) > MAX_LINE_BYTES:
            tail, is_skipping = b"", True
    if tail or is_skipping:
        yield None if is_skipping else tail


def _plain_lines(block: bytes | None, keep_ends: bool) -> list[str] | None:
    """Return the lines of a block in which nothing is unusual, else None."""
    if block is None or len(block) > MAX_LINE_BYTES or b"\0" in block:
        return None
    if not keep_ends and b"\r" in block:
        block = _LINE_END.sub(b"\n", block)
    try:
        whole_text = block.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if keep_ends:
        return list(io.StringIO(whole_text, newline=""))  # which parts at LF, CRLF and CR alone, and leaves them
    texts = whole_text.split("\n")
    last = texts.pop()
    if _MARK_BYTES in block:
        texts, last = [text.removeprefix(_MARK) for text in texts], last.removeprefix(_MARK)
    return [*texts, last] if last else texts


def _raw_lines(block: bytes | None, keep_ends: bool) -> list[bytes | None]:
    if block is None:
        return [None]
    raws = (_BEHIND_LINE_END if keep_ends else _LINE_END).split(block)
    return [raw if len(raw) <= MAX_LINE_BYTES else None for raw in (raws if raws[-1] else raws[:-1])]


def _line(number: int, raw: bytes | None, mark: str = _MARK) -> Line:
    if raw is None:
        return Line(number, "", f"is longer than {MAX_LINE_BYTES // 1_000_000} MB")
    try:
        text, fault = raw.decode("utf-8"), ""
    except UnicodeDecodeError as error:
        text, fault = raw.decode("utf-8", "surrogateescape"), _not_utf8(error.start, raw[error.start])
    if "\0" in text:
        fault = fault or "holds a NUL character"
    return Line(number, text.removeprefix(mark), fault)


def _not_utf8(at: int, byte: int) -> str:
    """Say which byte of a line is not UTF-8, and which letter it is in the encoding that is most likely meant."""
    letter = bytes([byte]).decode("cp1252", "replace")
    meant = f", '{letter}' in Windows-1252" if letter.isprintable() and letter != "\ufffd" else ""
    return f"is not UTF-8 at byte {at} (0x{byte:02x}{meant}; {ADVICE})"
