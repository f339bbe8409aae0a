"""The commit contract: a folder is either whole or not there.

Write into a temporary sibling, fsync every file and the folder, write the manifest last (sizes,
SHA-256, schema version), rename.  Readers ignore a folder without a valid manifest.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensorium.core.errors import DiskError, ModelError

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1


@contextlib.contextmanager
def committed_folder(final: Path) -> Iterator[Path]:
    """Yield a temporary sibling to write into; on success it becomes `final`, replacing any older one.

    Raises:
        DiskError: no space, no permission, or another failure of the file system.
    """
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    except OSError as error:
        raise disk_error(error, final) from error
    try:
        yield draft
        _seal(draft)
        _replace(draft, final)
    except OSError as error:
        raise disk_error(error, final) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Replace one small file whole: temporary sibling, fsync, rename.  Raises DiskError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _sync(path.parent)
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


def _seal(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    entries = {}
    for path in files:
        _sync(path)
        entries[path.relative_to(folder).as_posix()] = {"size": path.stat().st_size, "sha256": _sha256(path)}
    manifest = folder / MANIFEST
    text = json.dumps({"schema_version": SCHEMA_VERSION, "files": entries}, indent=1)
    manifest.write_text(text, encoding="utf-8")
    for path in [manifest, *(p for p in folder.rglob("*") if p.is_dir()), folder]:
        _sync(path)
    folder.chmod(0o755)


def _replace(draft: Path, final: Path) -> None:
    if not final.exists():
        draft.rename(final)
    elif not _exchange(draft, final):  # else the old folder now has the draft's name, and goes with it
        old = Path(tempfile.mkdtemp(prefix=f".{final.name}.old.", dir=final.parent))
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
