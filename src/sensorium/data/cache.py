"""The cache of prepared media: what a preparer made of each medium, kept on disk and mapped.

Enters: media and their preparer; a frozen encoder that gives (T, D) features is a preparer too.
Leaves: `PackedTensors`.

    CACHE/digests.sqlite                      see `digests`
    CACHE/prepared/<fingerprint>/.lock        held by the one process that adds
    CACHE/prepared/<fingerprint>/000001/      one generation: values (see `packed`), digests.txt, cut.txt, manifest
    CACHE/prepared/<fingerprint>/000002/      what was added later

A generation is written under the commit contract and never changed.  One that does not match its manifest
is removed, loudly, and its media are prepared again.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sensorium.core.commit import KEPT, committed_folder, disk_error, verify
from sensorium.core.errors import ModelError, SensoriumError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Item
from sensorium.data.digests import DigestMemo
from sensorium.data.locking import exclusive
from sensorium.data.media_policy import kept_under, policy_of
from sensorium.data.packed import PackedTensors, PackedWriter, Segment
from sensorium.data.preparing import Prepared, prepare_all

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

_GENERATION = re.compile(r"\d{6}")
_DIGESTS = "digests.txt"
_CUT = "cut.txt"
"""The digests of the media that were longer than their input takes, so that they are counted every time."""
_GENERATION_BYTES = 256 << 20  # a killed run loses at most one generation's work ...
_GENERATION_S = 60.0  # ... or a minute


@dataclass(frozen=True)
class Warmed:
    """What `warm` found or made.

    Attributes:
        tensors: the prepared items, less the failed ones, in order.
        failures: item number -> why it could not be prepared.
        cut: the numbers of the items that were cut.
        num_prepared: items that were not in the cache.
    """

    tensors: PackedTensors
    failures: Mapping[int, str]
    cut: frozenset[int]
    num_prepared: int


class PreparedCache:
    """Prepared media on disk.

    Args:
        folder: made when it is first written; several caches and runs may share it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._memo = DigestMemo(folder / "digests.sqlite")

    def shelf(self, fingerprint: str) -> Shelf:
        """Open what is kept under a preparer's fingerprint."""
        is_name = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", fingerprint)
        name = fingerprint if is_name else hashlib.sha256(fingerprint.encode()).hexdigest()
        return Shelf(self.folder / "prepared" / name)

    def warm(
        self,
        items: Sequence[Item],
        preparer: Preparer,
        workers: int = 0,
        *,
        progress: Progress | None = None,
        wait_s: float = 600.0,
    ) -> Warmed:
        """Return all `items` prepared, preparing and keeping those that are not here yet.

        Items of equal content are prepared once, whatever their names.

        Raises:
            LockedError: another process is still adding to it after `wait_s` seconds.
            DiskError: it cannot be written.
            DataError: loader processes cannot start, or die again and again.
        """
        shelf = self.shelf(kept_under(preparer))
        digests: dict[int, str] = {}
        failures: dict[int, str] = {}
        for i, answer in enumerate(self._memo.digests(items, policy_of(preparer))):
            if isinstance(answer, SensoriumError):
                failures[i] = str(answer)
            else:
                digests[i] = answer
        num_prepared = 0
        if not all(digest in shelf for digest in digests.values()):
            with exclusive(shelf.folder / ".lock", wait_s=wait_s):
                shelf.refresh()
                first_of = {digest: i for i, digest in reversed(digests.items()) if digest not in shelf}
                missing = {i: digest for digest, i in sorted(first_of.items(), key=lambda pair: pair[1])}
                reasons = shelf.prepare(items, missing, preparer, workers, progress)
            num_prepared = len(missing) - len(reasons)
            failures |= {i: reasons[digest] for i, digest in digests.items() if digest in reasons}
        good = {i: digest for i, digest in digests.items() if i not in failures}
        cut = frozenset(i for i, digest in good.items() if digest in shelf.cut)
        return Warmed(shelf.tensors(list(good.values())), dict(sorted(failures.items())), cut, num_prepared)


class Shelf:
    """All generations of one fingerprint.

    Args:
        folder: CACHE/prepared/<fingerprint>.

    Attributes:
        cut: the digests of the media that were cut.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cut: set[str] = set()
        self._opened: dict[str, int] = {}  # generation name -> segment number
        self._segments: list[Segment] = []
        self._place: dict[str, tuple[int, int]] = {}  # digest -> (segment, position)
        for name in self._names():
            self._open(name)

    def __contains__(self, digest: str) -> bool:
        return digest in self._place

    def tensors(self, digests: Sequence[str]) -> PackedTensors:
        """Return the tensors of `digests`, all of which are here, in their order."""
        places = np.array([self._place[digest] for digest in digests], np.int64).reshape(-1, 2)
        return PackedTensors(self._segments, places[:, 0].copy(), places[:, 1].copy())

    def refresh(self) -> None:
        """Open what others added, and clear away what is broken or was never finished; needs the lock."""
        for name in self._names():
            if name not in self._opened and not self._open(name):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        for draft in self.folder.glob(".[0-9]*"):
            shutil.rmtree(draft, ignore_errors=True)

    def prepare(
        self,
        items: Sequence[Item],
        missing: Mapping[int, str],
        preparer: Preparer,
        workers: int,
        progress: Progress | None,
    ) -> dict[str, str]:
        """Prepare the items numbered `missing` and keep them; needs the lock.

        Returns:
            By digest, why an item could not be prepared.
        """
        reasons: dict[str, str] = {}
        chosen = [items[i] for i in missing]
        prepared = zip(missing.values(), prepare_all(chosen, preparer, workers), strict=True)
        self.add(_good(prepared, reasons, progress, len(missing)))
        return reasons

    def add(self, pairs: Iterable[tuple[str, Prepared]]) -> None:
        """Keep what was prepared, by digest, in new generations; needs the lock.

        Raises:
            DiskError: no room, or no permission.
            DataError: tensors that do not fit each other.
        """
        pairs = iter(pairs)
        first = next(pairs, None)
        while first is not None:
            number = int(max([*self._names(), "000000"])) + 1
            name = f"{number:06d}"
            with committed_folder(self.folder / name, KEPT) as draft:
                first = _write_generation(draft, first, pairs)
            self._map(name)

    def _names(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if _GENERATION.fullmatch(path.name))

    def _open(self, name: str) -> bool:
        try:
            verify(self.folder / name)
            self._map(name)
        except ModelError as error:
            logger.warning("cache generation ignored: %s; its media are prepared again", error)
            return False
        return True

    def _map(self, name: str) -> None:
        folder = self.folder / name
        segment = Segment.open(folder)
        if not (folder / _CUT).is_file():
            raise ModelError("does not say which media were cut", where=str(folder))
        digests, cut = ((folder / name).read_text(encoding="ascii").split() for name in (_DIGESTS, _CUT))
        if len(digests) != len(segment):
            raise ModelError(f"has {len(segment)} tensors for {len(digests)} digests", where=str(folder))
        number = self._opened[name] = len(self._segments)
        self._segments.append(segment)
        self.cut.update(cut)
        self._place.update((digest, (number, position)) for position, digest in enumerate(digests))


def _good(
    prepared: Iterable[tuple[str, Prepared]],
    reasons: dict[str, str],
    progress: Progress | None,
    total: int,
) -> Iterator[tuple[str, Prepared]]:
    for done, (digest, one) in enumerate(prepared, start=1):
        if one.value is None:
            reasons[digest] = one.failure
        else:
            yield digest, one
        if progress is not None:
            progress(done, total)


def _write_generation(
    folder: Path, first: tuple[str, Prepared], rest: Iterator[tuple[str, Prepared]]
) -> tuple[str, Prepared] | None:
    """Write pairs until the generation is large or old enough; returns the pair that begins the next."""
    writer = PackedWriter(folder)
    digests: list[str] = []
    cut: list[str] = []
    began = time.monotonic()
    pair: tuple[str, Prepared] | None = first
    while pair is not None:
        digest, prepared = pair
        assert prepared.value is not None
        writer.add(prepared.value)
        digests.append(digest)
        cut += [digest] if prepared.is_cut else []
        pair = next(rest, None)
        if writer.num_bytes >= _GENERATION_BYTES or time.monotonic() - began >= _GENERATION_S:
            break
    writer.finish()
    try:
        for name, kept in ((_DIGESTS, digests), (_CUT, cut)):
            (folder / name).write_text("\n".join(kept) + "\n", encoding="ascii")
    except OSError as error:
        raise disk_error(error, folder) from error
    return pair
