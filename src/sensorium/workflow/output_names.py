"""Name files after those that they are made from: one each, whatever the folders, endings and case of the others.

Enters: source files, and an ending.  Leaves: a path for each in one folder.  A file is named by its source's stem
where that is enough; those that would share a name are told apart by their ending, or by the folders they lie in.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from sensorium.core.commit import disk_error, require_free
from sensorium.core.errors import UsageError


def output_paths(sources: Sequence[Path], folder: Path, ending: str, *, force: bool = False) -> list[Path]:
    """Return the file of each source in `folder`, which is made; equal only where two sources are one file.

    Args:
        ending: of the files, without its dot.
        force: files that are there may be replaced.

    Raises:
        UsageError: a file is there already, or in the folder's place.
        DiskError: the folder cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError("is a file, not a folder", where=str(folder), advice="choose another --out")
    names = _names(list(dict.fromkeys(source.resolve() for source in sources)))
    paths = [folder / f"{names[source.resolve()]}.{ending}" for source in sources]
    for path in paths:
        require_free(path, force=force, is_ours=lambda _: True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from error
    return paths


def _names(sources: Sequence[Path]) -> dict[Path, str]:
    groups: dict[str, list[Path]] = defaultdict(list)
    for source in sources:
        groups[_key(source.stem)].append(source)
    names: dict[Path, str] = {}
    for group in groups.values():
        names |= dict(zip(group, _told_apart(group), strict=True))
    taken: set[str] = set()
    for source, name in names.items():
        free = next(one for one in _numbered(name) if _key(one) not in taken)
        taken.add(_key(free))
        names[source] = free
    return names


def _told_apart(group: Sequence[Path]) -> list[str]:
    """Name sources of one stem by it, by their whole names, or with as many of their folders as it takes."""
    deepest = max(len(source.parts) for source in group)
    for depth in range(1, deepest + 1):
        folders = ["-".join(part.strip("/") for part in source.parts[-depth:-1]) for source in group]
        for last in ([source.stem for source in group], [source.name for source in group]):
            found = ["-".join(filter(None, pair)) for pair in zip(folders, last, strict=True)]
            if len({_key(name) for name in found}) == len(group):
                return found
    return [source.name for source in group]


def _key(name: str) -> str:
    """Return what file systems that do not tell case, or composed letters, apart go by."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1
