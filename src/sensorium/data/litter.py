"""What systems and file browsers leave in folders and archives: no data, though its names look like some.

macOS writes '._photo.jpg' beside photo.jpg where a disk or an archive cannot hold its notes, and collects such
files in '__MACOSX'; Windows, NAS devices and notebooks leave folders of their own.
"""

from __future__ import annotations

from pathlib import PurePosixPath

_NAMES = frozenset(
    {"thumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "#recycle", "$recycle.bin"}
    | {"system volume information", "lost+found", "__pycache__"}
)


def is_litter(name: str) -> bool:
    """Say whether a file or folder of this name, or within such a folder, is no data; hidden ones are none."""
    parts = PurePosixPath(name).parts
    return any((part[0] == "." and part != "..") or part.lower() in _NAMES for part in parts)
