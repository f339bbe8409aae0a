"""A JSON object larger than memory: its members one after the other, lists element by element.

Enters: a UTF-8 file that holds one object, such as COCO's {"info": ..., "images": [...], "annotations": [...]}.
Leaves: `Member`s in the order of the file.  Only one value at a time is in memory, and it is at most
`MAX_VALUE` characters long.

A list that is damaged hides all that follows, so a fault is an error, and names the member and the record.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from sensorium.core import text_file
from sensorium.core.errors import DataError

MAX_VALUE = 64_000_000
_CHUNK = 1 << 20
_BLANKS = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_OPEN_STRING = "Unterminated string"
_LONGEST_WORD = 16
"""No 'false', '-Infinity' or escape is longer: a fault with as much text behind it is one."""


class Member(NamedTuple):
    """One value of the object: its key, its number from 1 if it is an element of a list (else 0), the value."""

    key: str
    number: int
    value: Any


def members(path: Path) -> Iterator[Member]:
    """Go through the object in a file.

    Raises:
        DataError: not JSON, not an object, cut short, damaged, or a value that is too long.
    """
    with text_file.opened(path) as file:
        text = _Window(file, path)
        text.expect("{")
        is_first = True
        while text.expect('"}' if is_first else ",}") != "}":
            if is_first:
                text.back()
            is_first = False
            key = text.value()
            text.expect(":")
            yield from _values(text, str(key))
        if text.peek():
            text.fail("has something behind its end")


def elements(path: Path, key: str) -> Iterator[tuple[int, Any]]:
    """Go through one list of the object, numbered from 1.

    Raises:
        DataError: as `members`; or there is no such list.
    """
    is_there = False
    for member in members(path):
        if member.key == key:
            is_there = True
            if member.number:
                yield member.number, member.value
            elif member.value != []:
                raise DataError(f"its '{key}' are no list", where=path.name)
        elif is_there:
            return
    if not is_there:
        raise DataError(f"has no '{key}'", where=path.name, advice="is it the right file?")


def _values(text: _Window, key: str) -> Iterator[Member]:
    text.place = f"'{key}'"
    if text.peek() != "[":
        yield Member(key, 0, text.value())
        return
    text.expect("[")
    number = 0
    while text.expect(",]", or_value=number == 0) != "]":
        number += 1
        text.place = f"record {number:,} of '{key}'"
        yield Member(key, number, text.value())
    text.place = f"what follows '{key}'"
    if not number:
        yield Member(key, 0, [])


class _Window:
    """A part of the text, read on as needed.

    Attributes:
        place: what is being read, for messages.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.place = "its beginning"
        self._file, self._path = file, path
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._at = 0
        self._num_bytes = 0

    def peek(self) -> str:
        """Return the next character that is not blank, '' at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            self._at = blanks.end() if blanks else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def expect(self, wanted: str, *, or_value: bool = False) -> str:
        """Take one of the wanted characters; where a value may stand too, leave it and return ''."""
        found = self.peek()
        if found and found in wanted and not (or_value and found == ","):
            self._at += 1
            return found
        if not found:
            self._fail_short()
        if not or_value:
            self.fail(f"is not JSON in {self.place}: '{found}' stands where {' or '.join(wanted)} belongs")
        return ""

    def back(self) -> None:
        """Put the last character back."""
        self._at -= 1

    def value(self) -> Any:
        """Take a value of any kind."""
        if not self.peek():
            self._fail_short()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                self._read_past(error)
            except RecursionError:
                self.fail(f"is nested too deeply in {self.place}")
            except ValueError as error:  # an integer of thousands of digits
                self.fail(f"cannot be read in {self.place}: {error}")
            else:
                may_go_on = isinstance(value, int | float) and end + _LONGEST_WORD > len(self._text)
                num_read = end - self._at
                if not may_go_on or not self._read_on():  # which moves the text to where the value begins
                    self._at += num_read
                    return value

    def fail(self, what: str) -> NoReturn:
        """Raise what is wrong."""
        raise DataError(what, where=self._path.name, advice="download or export it again")

    def _read_past(self, error: json.JSONDecodeError) -> None:
        """Read on where the value may merely not be there yet."""
        is_open = error.msg.startswith(_OPEN_STRING)
        if len(self._text) - self._at > MAX_VALUE:
            self.fail(f"has a value of more than {MAX_VALUE // 1_000_000} MB in {self.place}")
        at_end = is_open or error.pos + _LONGEST_WORD > len(self._text)
        fault_at = error.pos - self._at
        if not at_end or not self._read_on():
            if is_open or self._at + fault_at >= len(self._text.rstrip()):
                self._fail_short()
            self.fail(f"is not JSON in {self.place}: {error.msg}")

    def _read_on(self) -> bool:
        """Read as much again as there is; False at the end of the file."""
        self._text = self._text[self._at :]
        self._at = 0
        data = self._file.read(max(_CHUNK, len(self._text)))
        try:
            self._text += self._decode.decode(data, final=not data)
        except UnicodeDecodeError as error:
            self.fail(f"is not UTF-8 text near byte {self._num_bytes + error.start:,}")
        self._num_bytes += len(data)
        return bool(data)

    def _fail_short(self) -> NoReturn:
        if not self._num_bytes:
            raise DataError("is empty", where=self._path.name)
        self.fail(f"is cut short at byte {self._num_bytes:,}, in {self.place}")
