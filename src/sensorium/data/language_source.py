"""Where a published language model lies: a folder, a GGUF file, or weights that ship in a package.

Enters: what a config calls its source.  Leaves: a path.
"""

from __future__ import annotations

from pathlib import Path

from sensorium.core.errors import ConfigError
from sensorium.media.packaged import LISTING, packaged_files

_PACKAGED = "packaged:"


def published_path(source: str) -> Path:
    """Return the folder or the .gguf file that `source` names.

    Args:
        source: a path, or "smollm2-135m" (with or without "packaged:").

    Raises:
        ConfigError: there is neither, or the packaged weights are no language model.
        MissingExtraError, ModelError: packaged weights that are not installed, or are not the pinned ones.
    """
    name = source.removeprefix(_PACKAGED)
    if source.startswith(_PACKAGED) or name in LISTING:
        found = [path for path in packaged_files(name).values() if path.suffix == ".gguf"]
        if len(found) != 1:
            raise ConfigError("is no language model", where=f"{_PACKAGED}{name}", advice="try smollm2-135m")
        return found[0]
    path = Path(source)
    if not path.is_dir() and not (path.is_file() and path.suffix == ".gguf"):
        advice = "name a folder with config.json and model.safetensors, a .gguf file, or packaged weights"
        raise ConfigError("is neither a folder nor a .gguf file", where=f"source '{source}'", advice=advice)
    return path
