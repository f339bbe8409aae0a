"""What every preparer needs: cells that name media, and names for what a preparation does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from sensorium.core.protocols import CuttingPreparer, Preparer
from sensorium.core.types import Media
from sensorium.media.address import media_at


def media_in(cell: str, folder: Path) -> Media | None:
    """Read a table cell as the address of a medium, relative to `folder`; None where it is blank.

    Raises:
        MediaError: an address that cannot be meant.
    """
    return media_at(cell, folder) if cell.strip() else None


def num_cut(preparer: Preparer) -> int:
    """Return how many items a preparer has cut so far in this process; most kinds never cut."""
    return preparer.truncated if isinstance(preparer, CuttingPreparer) else 0


def fingerprint_of(kind: str, **settings: str | float | bool | None) -> str:
    """Name a preparation: 16 hex digits of SHA-256 over its kind and settings."""
    text = json.dumps([kind, settings], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
