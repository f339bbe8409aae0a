"""Where a run came from: the content of its tables, the versions of what it ran on."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

from sensorium.data.readers import TableSpec
from sensorium.data.table import Table
from sensorium.version import __version__
from sensorium.workflow.config import PretrainingConfig


def data_digests(config: PretrainingConfig) -> dict[str, str]:
    """Return the SHA-256 of each table that the config names: of its file, or of its rows where it is a folder.

    The media that the cells name are not part of it.
    """
    named = {part: getattr(config.data, part) for part in ("train", "validation", "test")}
    return {part: _digest(config.resolve(spec), config.folder) for part, spec in named.items() if spec}


def _digest(spec: str, folder: Path) -> str:
    path = TableSpec.parse(spec, folder).path
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    table, sha = Table.open(spec, folder), hashlib.sha256()
    for i in range(len(table)):
        cells = table.row(i)
        # Relative to the table's folder, so that a copy elsewhere has the same digest.
        parts = [cells[name].replace(str(table.folder), "") for name in table.columns]
        sha.update(("\0".join(parts) + "\n").encode("utf-8", "surrogatepass"))
    return sha.hexdigest()


def versions() -> dict[str, str]:
    """Return what the run was made with."""
    import numpy
    import torch

    return {
        "sensorium": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
