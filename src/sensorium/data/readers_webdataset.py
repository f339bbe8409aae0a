"""WebDataset: tar shards whose neighbouring members of one basename are a row.

    webdataset:shards/train-{000000..000147}.tar        as the shards are written in WebDataset's own specs
    webdataset:shards/train-*.tar                       in sorted order

    000123.jpg, 000123.txt, 000123.json    ->  key = "000123", jpg = "shards/...tar::000123.jpg@1536+20480",
                                               txt = "a cat", json.width = "640", ...

Leaves: rows of `key`, and a column for each ending (what follows the first dot of the basename).  Texts, numbers
and labels are read; each key of a JSON object is a column 'json.KEY'; media stay in the shard, and their cells say
where, so that nothing is unpacked.  Members of other kinds (arrays, pickles) are left out, and counted in the log.
A row with an ending twice, a damaged text, or a member that is no plain file is a BadLine.  A shard that is
missing, cut short or damaged is an error, since nobody knows how many rows it had.
Source: https://github.com/webdataset/webdataset, "The WebDataset Format".
"""

from __future__ import annotations

import itertools
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from sensorium.core import text_file
from sensorium.core.errors import DataError, MediaError
from sensorium.data.cell_values import cell_of
from sensorium.data.litter import is_litter
from sensorium.data.readers import MAX_CELL_BYTES, BadLine, Row, RowStream, row_of
from sensorium.media.address import with_range
from sensorium.media.archive import Member, members

logger = logging.getLogger(__name__)

KEY = "key"
TEXTS = frozenset({"txt", "text", "caption", "transcript", "cls", "cls2", "index", "inx", "id"})
OBJECTS = frozenset({"json", "jsn"})
MEDIA = frozenset(
    {"jpg", "jpeg", "png", "webp", "gif", "tif", "tiff", "bmp", "wav", "flac", "ogg", "opus", "mp3", "m4a", "aac"}
    | {"mp4", "mov", "webm", "mkv", "avi", "mpg", "mpeg"}
)
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MAX_SHARDS = 100_000


def read_webdataset(path: Path) -> RowStream:
    """Stream the rows of one shard, or of those that braces or a star name.

    Raises:
        DataError: a shard is not there, or the star names none; while rows are read: a shard is no tar archive,
            compressed, cut short or damaged.
    """
    shards = _shards(path)
    for shard in shards:
        if not shard.is_file():
            raise DataError("no such shard", where=str(shard), advice="fetch it, or leave it out of the braces")
    columns: list[str] = [KEY]
    return RowStream(columns, _rows(shards, path.parent, columns), tuple(shards))


def _shards(path: Path) -> list[Path]:
    if "*" in path.name:
        found = sorted(file for file in path.parent.glob(path.name) if file.is_file() and not is_litter(file.name))
        if not found:
            raise DataError("names no shards", where=str(path))
        return found
    parts = _BRACES.split(path.name)
    ranges = [_range(first, last, path) for first, last in zip(parts[1::3], parts[2::3], strict=True)]
    chosen = itertools.product(*ranges)
    names = ["".join(itertools.chain(*zip(parts[::3], [*numbers, ""], strict=True))) for numbers in chosen]
    return [path.with_name(name) for name in names]


def _range(first: str, last: str, path: Path) -> list[str]:
    numbers = range(int(first), int(last) + 1)
    if not 0 < len(numbers) <= _MAX_SHARDS:
        raise DataError(f"'{{{first}..{last}}}' counts {len(numbers):,} shards", where=str(path))
    return [str(number).zfill(len(first)) for number in numbers]


def _rows(shards: list[Path], folder: Path, columns: list[str]) -> Iterator[Row | BadLine]:
    number = 0
    left_out: Counter[str] = Counter()
    for shard in shards:
        for key, cells in _samples(shard, shard.relative_to(folder).as_posix(), left_out):
            number += 1
            if isinstance(cells, str):
                yield BadLine(number, f"{cells} (row '{key}' of '{shard.name}')")
                continue
            columns += [name for name in cells if name not in columns]
            yield row_of(number, cells)
    if left_out:
        told = ", ".join(f"{kind or 'without ending'}: {count:,}" for kind, count in left_out.most_common(10))
        logger.warning("%s: members of kinds that are not read are left out (%s)", shards[0].name, told)


def _samples(shard: Path, cell: str, left_out: Counter[str]) -> Iterator[tuple[str, dict[str, str] | str]]:
    """Yield the key of each row and its cells, or what is wrong with it."""
    with shard.open("rb") as file:
        kept = ((_name(member), member) for member in members(file))
        found = ((_key_and_ending(name), member) for name, member in kept if not is_litter(name))
        try:
            for key, group in itertools.groupby(found, key=lambda pair: pair[0][0]):
                sample: dict[str, str] | str = {KEY: key}
                for (_, ending), member in group:
                    sample = _with(sample, ending, member, file, cell, left_out)
                yield key, sample
        except MediaError as error:
            advice = error.advice or "fetch the shard again, or leave it out"
            raise DataError(error.what, where=str(shard), advice=advice) from None


def _name(member: Member | str) -> str:
    return member.name if isinstance(member, Member) else member.partition("'")[2].partition("'")[0]


def _key_and_ending(name: str) -> tuple[str, str]:
    """Part 'a/b/0001.seg.png' into 'a/b/0001' and 'seg.png'."""
    path = PurePosixPath(name.removeprefix("./"))
    stem, _, ending = path.name.partition(".")
    return path.with_name(stem or path.name).as_posix() if path.name else name, ending.lower()


def _with(
    sample: dict[str, str] | str,
    ending: str,
    member: Member | str,
    file: BinaryIO,
    cell: str,
    left_out: Counter[str],
) -> dict[str, str] | str:
    """Add a member to a row; of faults the first one counts."""
    if isinstance(sample, str):
        return sample
    if isinstance(member, str):
        return member
    if ending in sample and ending != KEY:
        return f"has two members ending in '.{ending}'"
    kind = ending.rpartition(".")[2]
    if kind in MEDIA:
        name = PurePosixPath(member.name).name
        return sample | {ending: with_range(cell, name, member.offset, member.num_bytes)}
    if ending == KEY:  # a column of that name says which row it is
        left_out[ending] += 1
        return sample
    if kind in TEXTS or kind in OBJECTS:
        try:
            text = _text(file, member)
        except DataError as error:
            return f"its '.{ending}' {error.what}"
        return sample | {ending: text} if kind in TEXTS else _with_object(sample, ending, text)
    left_out[ending] += 1
    return sample


def _text(file: BinaryIO, member: Member) -> str:
    """Return the text of a member.  Raises DataError: not UTF-8, or too large."""
    if member.num_bytes > MAX_CELL_BYTES:
        raise DataError(f"is larger than {MAX_CELL_BYTES // 1_000_000} MB")
    file.seek(member.offset)
    return text_file.decoded(file.read(member.num_bytes), member.name).strip()


def _with_object(sample: dict[str, str], ending: str, text: str) -> dict[str, str] | str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"its '.{ending}' is not JSON: {error}"
    if not isinstance(value, dict):
        return sample | {ending: cell_of(value)}
    return sample | {f"{ending}.{key}": cell_of(part) for key, part in value.items()}
