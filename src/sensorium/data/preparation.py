"""What every preparer needs: cells that name media, and names for what a preparation does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from sensorium.core.types import Media


def media_in(cell: str, folder: Path) -> Media | None:
    """Read a table cell as a path, relative to `folder`; None where it is blank."""
    name = cell.strip()
    return Media(path=folder / name) if name else None


def fingerprint_of(kind: str, **settings: str | float | bool | None) -> str:
    """Name a preparation: 16 hex digits of SHA-256 over its kind and settings."""
    text = json.dumps([kind, settings], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
