"""Which media are the same bytes?  Numbered by content, reading as little as can tell them apart.

Enters: addresses of media.  Leaves: one number each; equal numbers mean equal bytes, whatever the files are called.
What is meant is the whole recording: some seconds of it are numbered as all of it.

Copies are of one size, so most files are told apart without being read; of those that are left, three small samples
are compared, and only where these agree, too, all of the bytes (SHA-256).
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import MediaError
from sensorium.media import archive
from sensorium.media.address import range_of
from sensorium.media.bytes import open_media
from sensorium.media.policy import MediaPolicy

if TYPE_CHECKING:  # core.types imports torch, which a loader process need not pay for
    from sensorium.core.types import Media

Ints = npt.NDArray[np.int64]

_SAMPLE_BYTES = 4096
_CHUNK_BYTES = 1 << 20


class _Place(NamedTuple):
    """Where a medium's bytes lie: the file, or the bytes themselves, and the part that is meant."""

    file: Hashable
    offset: int
    size: int
    media: Media


class Contents(NamedTuple):
    """Numbers of M media, in order of first appearance.

    Attributes:
        content_M: (M,) equal where the bytes are.
        place_M: (M,) equal where they are the same bytes of the same file, whatever it is called.
    """

    content_M: Ints
    place_M: Ints


def contents(
    media: Sequence[Media], policy: MediaPolicy | None = None, advance: Callable[[int, int], None] | None = None
) -> Contents:
    """Number media by content and by place.

    Args:
        advance: told how much of how much is read: places, samples, and what has to be read whole.

    A medium that cannot be opened is known by its address: whoever decodes it says why it cannot.
    """
    policy, archives = policy or MediaPolicy(), dict[Hashable, dict[str, archive.Member]]()
    tell = advance or _nobody
    found = []
    for one in media:
        found.append(_place(replace(one, span_s=None), policy, archives))
        tell(len(found), 3 * len(media))
    keys: list[Hashable] = [place.size if isinstance(place, _Place) else place for place in found]
    for number, look in enumerate((_sample, _digest), start=1):
        known: dict[Hashable, Hashable] = {}
        crowded = _crowded(keys, found)
        for i, place in enumerate(found):
            if isinstance(place, _Place) and keys[i] in crowded:
                if place[:2] not in known:
                    known[place[:2]] = _looked_at(place, policy, look)
                keys[i] = (keys[i], known[place[:2]])
            tell(number * len(media) + i + 1, 3 * len(media))
    places: list[Hashable] = [place[:3] if isinstance(place, _Place) else place for place in found]
    return Contents(_numbered(keys), _numbered(places))


def _nobody(done: int, total: int) -> None:
    """Tell nobody."""


def _numbered(keys: Sequence[Hashable]) -> Ints:
    number_of: dict[Hashable, int] = {}
    return np.array([number_of.setdefault(key, len(number_of)) for key in keys], np.int64)


def _crowded(keys: Sequence[Hashable], found: Sequence[_Place | Media]) -> set[Hashable]:
    """Return the keys that several places have, which therefore do not tell them apart."""
    first: dict[Hashable, Hashable] = {}
    places = [(key, place[:2]) for key, place in zip(keys, found, strict=True) if isinstance(place, _Place)]
    return {key for key, where in places if first.setdefault(key, where) != where}


def _place(
    media: Media, policy: MediaPolicy, archives: dict[Hashable, dict[str, archive.Member]]
) -> _Place | Media:
    """Find a medium's bytes; the medium itself where they cannot be found."""
    if media.data is not None:
        return _Place(media.data, 0, len(media.data), media)
    try:
        with open_media(media, policy) as file:
            status = os.fstat(file.fileno())
            name = (status.st_dev, status.st_ino)
            if not media.member:
                return _Place(name, 0, status.st_size, media)
            part = range_of(media.member)
            if part is None:
                if name not in archives:
                    archives[name] = _members(file)
                part = archives[name][media.member.removeprefix("./")][1:]
            return _Place(name, *part, media)
    except (MediaError, KeyError, OSError):
        return media


def _members(file: BinaryIO) -> dict[str, archive.Member]:
    """Return an archive's members by name; of several of one name the last, as `archive.find`."""
    return {one.name.removeprefix("./"): one for one in archive.members(file) if isinstance(one, archive.Member)}


def _looked_at(place: _Place, policy: MediaPolicy, look: Callable[[BinaryIO, int, int], Hashable]) -> Hashable:
    try:
        if place.media.data is not None:
            return look(io.BytesIO(place.media.data), 0, place.size)
        with open_media(place.media, policy) as file:
            return look(file, place.offset, place.size)
    except (MediaError, OSError):  # gone meanwhile
        return place.media


def _sample(file: BinaryIO, offset: int, size: int) -> Hashable:
    """Read the beginning, the middle and the end."""
    samples = []
    for start in (0, (size - _SAMPLE_BYTES) // 2, size - _SAMPLE_BYTES):
        file.seek(offset + max(start, 0))
        samples.append(file.read(min(_SAMPLE_BYTES, size)))
    return hashlib.sha256(b"\0".join(samples)).digest()


def _digest(file: BinaryIO, offset: int, size: int) -> Hashable:
    """Digest all of the bytes."""
    file.seek(offset)
    digest, left = hashlib.sha256(), size
    while left > 0 and (chunk := file.read(min(_CHUNK_BYTES, left))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.digest()
