"""The one place that opens media files: a path in, its bytes out, under the policy.

Enters: a `Media`, untrusted.  Leaves: at most `max_bytes` bytes, or a `MediaError` that says why not.
Nothing but a regular file is ever opened: a FIFO would wait for ever, `/dev/zero` would never end, and
opening a device can act on it.  The kind is asked before opening (stat) and again after (fstat), so
that a file exchanged in between changes nothing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sensorium.core.errors import MediaError
from sensorium.media import archive
from sensorium.media.address import range_of
from sensorium.media.policy import MediaPolicy

if TYPE_CHECKING:  # core.types imports torch, which a loader process need not pay for
    from sensorium.core.types import Media

_URL = re.compile(r"[a-z][a-z0-9+.-]+:/|data:[^,]*,", re.IGNORECASE)

_KINDS = (
    (stat.S_ISDIR, "is a folder, not a file"),
    (stat.S_ISFIFO, "is a named pipe, not a file"),
    (stat.S_ISSOCK, "is a socket, not a file"),
    (stat.S_ISCHR, "is a device, not a file"),
    (stat.S_ISBLK, "is a device, not a file"),
)

_REASONS = {
    errno.ENOENT: "no such file",
    errno.ENOTDIR: "no such file",
    errno.EACCES: "may not be read: permission denied",
    errno.EPERM: "may not be read: permission denied",
    errno.ELOOP: "is a symbolic link that leads back to itself",
    errno.ENAMETOOLONG: "no such file: the name is too long",
}


def read_bytes(media: Media, policy: MediaPolicy, max_bytes: int) -> bytes:
    """Return the bytes of `media`.

    Raises:
        MediaError: empty, larger than `max_bytes`, outside the granted folders, remote, missing, or
            not a regular file.  It does not name the medium; the caller adds that.
    """
    if media.data is not None:
        _check_size(len(media.data), max_bytes)
        return media.data
    assert media.path is not None
    with os.fdopen(_open(media.path, policy), "rb") as file:
        if media.member:
            return _part(file, media.member, max_bytes)
        size = os.fstat(file.fileno()).st_size
        _check_size(size, max_bytes)
        data = file.read(size + 1)
        if len(data) > size:  # it grew meanwhile; asking for the cap at once would cost its allocation
            data += file.read(max_bytes + 1 - len(data))
    _check_size(len(data), max_bytes)
    return data


def read_head(media: Media, policy: MediaPolicy, num_bytes: int) -> bytes:
    """Return the first bytes of `media`, by which its kind is told.  Raises MediaError, as `read_bytes`."""
    if media.data is not None:
        return media.data[:num_bytes]
    assert media.path is not None
    with os.fdopen(_open(media.path, policy), "rb") as file:
        if media.member:
            offset, size = range_of(media.member) or archive.find(file, media.member)[1:]
            file.seek(offset)
            num_bytes = min(num_bytes, size)
        return file.read(num_bytes)


def digest(media: Media, policy: MediaPolicy | None = None) -> str:
    """Return the SHA-256 of the content of `media`, and of its span: 64 hex digits by which caches know it.

    Some seconds of a medium have a digest of their own.

    Raises:
        MediaError: as `read_bytes`, with the largest of the policy's size caps.
    """
    return span_digests(media, [media.span_s], policy)[0]


def span_digests(
    media: Media, spans_s: Sequence[tuple[float, float | None] | None], policy: MediaPolicy | None = None
) -> list[str]:
    """Return the `digest` of each span of one medium, whose content is read and hashed once.  Raises MediaError."""
    policy = policy or MediaPolicy()
    try:
        largest = max(policy.max_image_bytes, policy.max_audio_bytes, policy.max_video_bytes)
        data = read_bytes(media, policy, largest)
    except MediaError as error:
        raise error.at(str(media)) from None
    whole, found = hashlib.sha256(data), []
    for span_s in spans_s:
        known = whole.copy()
        if span_s is not None:
            known.update(repr(span_s).encode("ascii"))
        found.append(known.hexdigest())
    return found


def require_allowed(media: Media, policy: MediaPolicy) -> None:
    """Refuse a medium that may not be opened, whatever is known of it.  Raises MediaError, as `open_media`."""
    if media.path is not None:
        os.close(_open(media.path, policy))


def open_media(media: Media, policy: MediaPolicy) -> BinaryIO:
    """Open the file of `media` for going through it; `member` and `span_s` are the caller's.

    Raises:
        MediaError: outside the granted folders, remote, missing, or not a regular file.
    """
    assert media.path is not None
    return os.fdopen(_open(media.path, policy), "rb")


def _part(file: BinaryIO, member: str, max_bytes: int) -> bytes:
    """Read a part of a file: the bytes that its name states, or a member of a tar archive."""
    offset, num_bytes = range_of(member) or archive.find(file, member)[1:]
    _check_size(num_bytes, max_bytes)
    file.seek(offset)
    data = file.read(num_bytes)
    if len(data) < num_bytes:
        raise MediaError(f"the file ends before '{member}' does: it is cut short, or another one by now")
    return data


def _check_size(size: int, max_bytes: int) -> None:
    if size == 0:
        raise MediaError("is empty (0 bytes)")
    if size > max_bytes:
        raise MediaError(
            f"has {size:,} bytes, more than the {max_bytes:,} that the policy allows",
            advice="make it smaller, or raise the byte cap of the media policy",
        )


def _open(path: Path, policy: MediaPolicy) -> int:
    """Open a regular file below the granted folders; return its descriptor."""
    if _URL.match(str(path)):
        raise MediaError("is a remote address, and nothing is fetched", advice="download it and name the file")
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        if policy.roots:
            path = path.resolve(strict=True)
            _check_roots(path, policy)
            # The resolved path has no link left, so one that shows up now was put there since.
            flags |= os.O_NOFOLLOW
        _check_kind(path.stat().st_mode)
        descriptor = os.open(path, flags)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, f"cannot be read: {error.strerror}")
        raise MediaError(reason, advice=_cure(path) if error.errno == errno.ENOENT else "") from None
    except RuntimeError:  # Python 3.11 and 3.12 report a loop of links so
        raise MediaError(_REASONS[errno.ELOOP]) from None
    except ValueError:
        raise MediaError("no such file: the name holds a NUL character") from None
    try:
        _check_kind(os.fstat(descriptor).st_mode)
    except MediaError:
        os.close(descriptor)
        raise
    return descriptor


def _cure(path: Path) -> str:
    """Say how a path that is not there should be written, where its form tells that another program wrote it."""
    name = str(path)
    if "\\" in name or re.search(r"(^|/)[A-Za-z]:/", name):
        return "a Windows path: write / for \\, and start in the table's folder, or set folder in [data]"
    if re.search("%[0-9A-Fa-f]{2}", name):
        return "written as in a web address: write the file's own name, without %"
    return ""


def _check_roots(real: Path, policy: MediaPolicy) -> None:
    if not any(real.is_relative_to(root.resolve()) for root in policy.roots):
        granted = ", ".join(f"'{root}'" for root in policy.roots)
        raise MediaError(
            f"lies outside the granted folders ({granted})", advice="move it there, or grant its folder"
        )


def _check_kind(mode: int) -> None:
    for is_kind, what in _KINDS:
        if is_kind(mode):
            raise MediaError(what)
    if not stat.S_ISREG(mode):
        raise MediaError("is not a regular file")
