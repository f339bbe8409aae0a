"""Where a cache is kept: where it is wanted, or, if nothing can be written there, in the user's own cache.

Enters: a folder beside the data.  Leaves: a folder that can be written, said once where it is another one.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)


def cache_place(wanted: Path) -> Path | None:
    """Return `wanted`, or what stands for it under $XDG_CACHE_HOME (~/.cache); None: neither can be written."""
    return wanted if _is_writable(wanted) else _elsewhere(wanted.resolve())


@functools.cache  # which says it once
def _elsewhere(wanted: Path) -> Path | None:
    home = Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache"))  # noqa: PTH111  never raises
    key = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:16]
    place = home / "sensorium" / key
    if _is_writable(place):
        logger.warning("%s cannot be written: what is prepared is kept in %s", wanted, place)
        return place
    logger.warning("neither %s nor %s can be written: nothing that is prepared is kept", wanted, home)
    return None


def _is_writable(folder: Path) -> bool:
    """Say whether a folder, or the nearest one above it that there is, can be written."""
    there = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
