"""The commit contract: a folder is either whole or not there, and only one of its own kind is ever replaced.

Write into a temporary sibling, fsync every file and the folder, write the manifest last (kind, sizes,
SHA-256, schema version), rename.  Readers ignore a folder without a valid manifest.  A folder is replaced
only if its manifest names its kind and every file in it, so that no file of somebody else is ever lost.
Files and folders get the modes and the owner of what they replace, else those that the umask gives.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fnmatch
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.core.errors import DiskError, ModelError, UsageError

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Kind:
    """What a committed folder is.

    Attributes:
        name: what the manifest calls it.
        mark: a file that every folder of this kind has; one written before manifests named kinds is known by it.
        beside: patterns of files that are written into a finished folder, and so stand in no manifest.
        is_ours: such folders lie where this program alone writes, as in a cache; whatever has the name is replaced.
    """

    name: str
    mark: str = ""
    beside: tuple[str, ...] = ()
    is_ours: bool = False

    def holds_beside(self, name: str) -> bool:
        """Say whether a file of this name, relative to the folder, stands beside the manifest's."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.beside)


KEPT = Kind("kept", is_ours=True)
"""What is kept in a cache, to be made again at need."""


@contextlib.contextmanager
def committed_folder(final: Path, kind: Kind) -> Iterator[Path]:
    """Yield a temporary sibling to write into; on success it becomes `final`, replacing an older one of its kind.

    Raises:
        UsageError: `final` holds something else; nothing has been written then.
        DiskError: no space, no permission, or another failure of the file system.
    """
    require_replaceable(final, kind)
    place = Path(os.path.realpath(final))  # of a link, what it points to is replaced
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = _new_sibling(place)
    except OSError as error:
        raise disk_error(error, final) from error
    try:
        yield draft
        _seal(draft, kind, place)
        require_replaceable(final, kind)  # once more: writing may have taken hours
        _replace(draft, place)
    except OSError as error:
        raise disk_error(error, final) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def recommit(final: Path, kind: Kind, files: Mapping[str, bytes]) -> None:
    """Exchange some files of a committed folder in one step; all others stay the very files that they are.

    They are linked into the new folder, neither read nor written; copied only where the file system has no links.

    Args:
        files: by their names in the folder, which its manifest has already or which are new.

    Raises:
        UsageError: `final` holds something else; nothing has been written then.
        ModelError: there is no such folder.
        DiskError: as `committed_folder`.
    """
    require_replaceable(final, kind)
    place = Path(os.path.realpath(final))
    try:
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        draft = _new_sibling(place)
    except FileNotFoundError:
        raise ModelError("has no valid manifest: it was never finished", where=str(final)) from None
    except OSError as error:
        raise disk_error(error, final) from error
    try:
        _link_all(place, draft, {MANIFEST, *files})
        for name, data in files.items():
            _write_new(draft / name, data, place)
            manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        _write_new(draft / MANIFEST, json.dumps(manifest, indent=1).encode("utf-8"), place)
        for folder in [*(path for path in draft.rglob("*") if path.is_dir()), draft]:
            _sync(folder)
        _replace(draft, place)
    except OSError as error:
        raise disk_error(error, final) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _link_all(old: Path, new: Path, without: set[str]) -> None:
    """Give `new` the folders of `old`, with their modes and owner, and its files under second names."""
    _take_after(new, old)
    for path in sorted(old.rglob("*")):
        other = new / path.relative_to(old)
        if path.is_dir():
            other.mkdir()
            _take_after(other, path)
        elif path.relative_to(old).as_posix() not in without:
            try:
                os.link(path, other)
            except OSError:  # no links on this file system, or no more of them
                shutil.copy2(path, other)
                _sync(other)


def _write_new(path: Path, data: bytes, folder: Path) -> None:
    """Write a file of a draft for good, with the modes and the owner that files of `folder` have."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    like = folder.stat()
    path.chmod(stat.S_IMODE(like.st_mode) & _FILE_MODE)
    _give(path, like)


def require_replaceable(final: Path, kind: Kind) -> None:
    """Refuse to write a folder of this kind where something else stands.  Call it before what takes long.

    Raises:
        UsageError: `final` is a file, or a folder that is not empty and no committed one of this kind, or one with
            files that its manifest does not name.
    """
    if kind.is_ours or _is_vacant(final):
        return
    advice = "choose another folder, or move away what is in it"
    if not final.is_dir():
        raise UsageError("is a file, not a folder", where=str(final), advice=advice)
    try:
        manifest = json.loads((final / MANIFEST).read_text(encoding="utf-8"))
        named, its_kind = {MANIFEST, *_entries(manifest)}, manifest.get("kind")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"is not empty, and is no {kind.name} of ours", where=str(final), advice=advice) from None
    if its_kind != kind.name and (its_kind is not None or kind.mark not in named):
        raise UsageError(f"is not empty, and is no {kind.name} of ours", where=str(final), advice=advice)
    for path in final.rglob("*"):
        name = path.relative_to(final).as_posix()
        if name not in named and not kind.holds_beside(name) and (path.is_symlink() or not path.is_dir()):
            what = f"holds '{name}', which is no part of the {kind.name} in it"
            raise UsageError(what, where=str(final), advice=advice)


def _is_vacant(final: Path) -> bool:
    try:
        return not final.exists() or (final.is_dir() and not any(final.iterdir()))
    except OSError as error:
        raise disk_error(error, final) from error


def require_free(path: Path, *, force: bool = False, is_ours: Callable[[bytes], bool] | None = None) -> None:
    """Refuse to write a file where something stands.  Call it before what takes long.

    Args:
        force: the user said that a file of the same kind may be replaced.
        is_ours: knows that kind by a file's first 64 KiB; None: no file is ever replaced.

    Raises:
        UsageError: something is there; with `force`, something else than such a file.
    """
    try:
        if not path.exists():
            return
    except OSError as error:
        raise disk_error(error, path) from error
    if not force or is_ours is None:
        advice = "choose another name" if is_ours is None else "add --force to replace it, or choose another name"
        raise UsageError("exists already", where=str(path), advice=advice)
    try:
        with path.open("rb") as file:
            begins = file.read(_SNIFFED)
    except OSError:
        begins = None
    if begins is None or (begins and not is_ours(begins)):
        advice = "choose another name, or move it away"
        raise UsageError("is not what would replace it, but another kind of file", where=str(path), advice=advice)


_SNIFFED = 1 << 16


def write_atomic(path: Path, data: bytes) -> None:
    """Replace one small file whole: temporary sibling, fsync, rename.  Raises DiskError."""
    place = Path(os.path.realpath(path))
    draft = place.with_name(f".{secrets.token_hex(8)}.tmp")  # short, whatever the length of the name
    try:
        with draft.open("wb") as file:
            if place.exists():
                _take_after(draft, place)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(place)
        _sync(place.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise disk_error(error, path) from error


def verify(folder: Path) -> None:
    """Check `folder` against its manifest.

    Raises:
        ModelError: no manifest, another schema, or a file that is missing, short or altered.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version = manifest["schema_version"]
        files = _entries(manifest) if version == SCHEMA_VERSION else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError("has no valid manifest: it was never finished", where=str(folder)) from None
    if version != SCHEMA_VERSION:
        raise ModelError(f"has schema version {version}, this program reads {SCHEMA_VERSION}", where=str(folder))
    for name, (size, sha256) in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise ModelError(f"'{name}' is missing or cut short", where=str(folder))
        if _sha256(path) != sha256:
            raise ModelError(f"'{name}' is not what was written (SHA-256 differs)", where=str(folder))


def _entries(manifest: dict[str, Any]) -> dict[str, tuple[int, str]]:
    return {name: (int(entry["size"]), str(entry["sha256"])) for name, entry in manifest["files"].items()}


def is_whole(folder: Path) -> bool:
    """Say whether `folder` passes `verify`."""
    try:
        verify(folder)
    except ModelError:
        return False
    return True


def disk_error(error: OSError, path: Path) -> DiskError:
    """Translate an OSError into advice."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskError("no space left", where=str(path), advice="free some, or choose another --out")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DiskError("cannot be written", where=str(path), advice="check permissions, or choose another --out")
    return DiskError(f"cannot be written: {error.strerror or error}", where=str(path))


def _seal(folder: Path, kind: Kind, final: Path) -> None:
    entries = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        _sync(path)
        name = path.relative_to(folder).as_posix()
        if not kind.holds_beside(name):
            entries[name] = {"size": path.stat().st_size, "sha256": _sha256(path)}
    manifest = folder / MANIFEST
    text = json.dumps({"schema_version": SCHEMA_VERSION, "kind": kind.name, "files": entries}, indent=1)
    manifest.write_text(text, encoding="utf-8")
    _share(folder, final)
    for path in [manifest, *(p for p in folder.rglob("*") if p.is_dir()), folder]:
        _sync(path)


def _share(folder: Path, final: Path) -> None:
    """Give all of a draft to those whom the folder that it replaces, or else the umask, gives it to.

    Some writers make files that only their owner may read, whatever the umask.
    """
    if final.exists():
        _take_after(folder, final)
    like = folder.stat()
    for path in folder.rglob("*"):
        mode = stat.S_IMODE(like.st_mode)
        path.chmod(mode if path.is_dir() else mode & _FILE_MODE)
        _give(path, like)


_FILE_MODE = 0o666


def _take_after(path: Path, old: Path) -> None:
    like = old.stat()
    path.chmod(stat.S_IMODE(like.st_mode))
    _give(path, like)


def _give(path: Path, like: os.stat_result) -> None:
    own = path.stat()
    if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid):
        with contextlib.suppress(PermissionError):  # only root gives files away
            os.chown(path, like.st_uid, like.st_gid)


def _new_sibling(final: Path) -> Path:
    """Make and return a new folder beside `final`, with the modes that the umask gives (mkdtemp's are private)."""
    while True:
        draft = final.with_name(f".{final.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(FileExistsError):
            draft.mkdir()
            return draft


def _replace(draft: Path, final: Path) -> None:
    if not final.exists():
        draft.rename(final)
    elif not _exchange(draft, final):  # else the old folder now has the draft's name, and goes with it
        old = _new_sibling(final)
        final.rename(old / "folder")
        draft.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    _sync(final.parent)


_RENAME_EXCHANGE, _FROM_HERE = 2, -100


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step, as Linux can; False where the system or file system cannot.

    Two renames would leave a moment in which a crash leaves neither the old folder nor the new.
    """
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    first, second = os.fsencode(one), os.fsencode(other)
    swapped: int = renameat2(_FROM_HERE, first, _FROM_HERE, second, _RENAME_EXCHANGE)
    return swapped == 0


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
