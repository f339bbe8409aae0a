"""Published models in transformers' format: where their folder is, and what its `config.json` says.

Enters: a folder, or a name on the Hugging Face hub with a revision.  Leaves: a local folder.  No code of a folder is
ever run (`trust_remote_code`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sensorium.core.errors import MissingExtraError, ModelError


def folder_of(source: str, revision: str | None = None) -> Path:
    """Return the folder itself, or the hub's snapshot of it, which is fetched if it is not here yet.

    Raises:
        ModelError: no such folder, and not to be had from the hub.
        MissingExtraError: a name on the hub, and huggingface_hub is not installed.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or source.count("/") > 1:
        raise ModelError("no such folder of a published model", where=source)
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtraError(
            f"'{source}' is no folder, and the hub needs huggingface_hub", advice="pip install 'sensorium[hf]'"
        ) from None
    wanted = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=wanted))
    except Exception as error:  # the library raises its own, httpx's and the system's
        first_line = str(error).partition("\n")[0]
        advice = "name a folder that holds config.json, the weights and the tokenizer"
        raise ModelError(f"is no folder, and the hub does not give it: {first_line}", where=source, advice=advice) from None


def read_architecture(source: str, revision: str | None = None) -> dict[str, Any]:
    """Return what `config.json` says.  Raises ModelError: none, damaged, or of no known type."""
    path = folder_of(source, revision) / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError("holds no config.json", where=str(path.parent), advice="name a folder that transformers saved") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(path)) from None
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        raise ModelError("names no 'model_type'", where=str(path))
    return values


def import_transformers() -> Any:
    """Import transformers.  Raises MissingExtraError."""
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("published networks need transformers", advice="pip install 'sensorium[hf]'") from None
    return transformers
