"""What a run was begun with, so that a resumed one goes on with the same or not at all.

Enters: opened and prepared tables, and the model made for them.  Leaves: a name and a digest of each thing that the
weights depend on: columns by part, media by their sizes, rows that can be used, vocabularies.  A checkpoint keeps
them, and one of other data is refused by name (`training.checkpoint.require_same_data`).  Copies in another folder
have the same digests.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sensorium.core.errors import DataError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Item, Media
from sensorium.data.quarantine import Quarantine
from sensorium.data.scan import InputSpec
from sensorium.model.conditioner import Conditioner
from sensorium.model.saving import build_preparers
from sensorium.workflow.config import PretrainingConfig
from sensorium.workflow.prepare import Part, Prepared, media_root, open_parts
from sensorium.workflow.tasks_config import TasksConfig
from sensorium.workflow.tasks_prepare import PreparedTasks

USED = ("train", "validation")
"""The parts that weights depend on; test rows may change."""


def known_of(config: PretrainingConfig, prepared: Prepared) -> dict[str, str]:
    """Return the digests of a run of one task, as `known_data`."""
    num_rows = {name: corpus.num_rows for name, corpus in prepared.corpora.items()}
    known = known_data(config, prepared.model, prepared.parts, num_rows)
    return known | {"the vocabulary of the target": prepared.model.vocab.fingerprint}


def known_of_tasks(config: TasksConfig, prepared: PreparedTasks) -> dict[str, str]:
    """Return the digests of a run of several tasks, as `known_data`."""
    return {
        f"task '{name}', {what}": digest
        for name, task in prepared.tasks.items()
        for what, digest in known_of(config.tasks[name], task).items()
    }


def known_data(
    config: PretrainingConfig, model: Conditioner, parts: Mapping[str, Part], num_rows: Mapping[str, int]
) -> dict[str, str]:
    """Return a digest of each thing that a run's weights depend on, by what it is.

    Args:
        num_rows: of each part, how many can be used.
    """
    known = {f"what input '{name}' is made of": one.fingerprint for name, one in model.preparers.items()}
    known |= _of_parts(config, model.preparers, {name: parts[name] for name in USED})
    return known | {f"the number of {name} rows that can be used": str(num_rows[name]) for name in USED}


def content_of(config: PretrainingConfig) -> dict[str, str]:
    """Return a digest of all content that a config names, without fitting anything: of every part, and of files.

    Raises:
        DataError: a table that cannot be read.
    """
    parts = open_parts(config, Quarantine(config.data.max_bad_fraction))
    values = {key: section for key, section in config.dump().items() if key not in ("data", "run", "media")}
    files = {name: _content(path) for name, path in _named_files(values, config.folder)}
    return _of_parts(config, build_preparers(config.model), parts) | files


def _of_parts(
    config: PretrainingConfig, preparers: Mapping[str, Preparer], parts: Mapping[str, Part]
) -> dict[str, str]:
    known = {}
    for name, part in parts.items():
        for column in sorted(set(config.model.columns.values())):
            known[f"column '{column}' of the {name} rows"] = _digest(_cells(part, column))
        for key, spec in _read(config, preparers).items():
            known[f"the files of input '{key}' in the {name} rows"] = _digest(_sizes(config, part, spec))
    return known


def _named_files(value: Any, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files and folders that nested values name, such as '/a/b' or 'hf:/a/b', by name and place."""
    if isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _named_files(one, folder)
    elif isinstance(value, str):
        start = 0 if value.startswith("/") else value.find(":/") + 1
        path = Path(value[start:].partition("#")[0])
        if value.startswith("/", start) and len(value) < _LONGEST_PATH and path.exists():
            yield os.path.relpath(path, folder), path


_LONGEST_PATH = 2000  # what is longer is some text, as an architecture in JSON


def _content(path: Path) -> str:
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(one for one in path.rglob("*") if one.is_file())
    return _digest(f"{one.relative_to(path)}:{one.stat().st_size}" for one in files)


def _read(config: PretrainingConfig, preparers: Mapping[str, Preparer]) -> dict[str, InputSpec]:
    return {name: choice.spec(preparers[name]) for name, choice in config.model.read_inputs.items()}


def _cells(part: Part, column: str) -> Iterator[str]:
    folder = str(part.table.folder)
    return (cell.replace(folder, "") for cell in part.cells(column))


def _sizes(config: PretrainingConfig, part: Part, spec: InputSpec) -> Iterator[str]:
    """Yield the size of every file that is named, once; a file that is exchanged has nearly always another one."""
    root, seen = media_root(config, part.table), set[Path]()
    for cell in part.cells(spec.column):
        with contextlib.suppress(DataError):
            for path in filter(None, map(_path, spec.items(cell, root))):
                if path not in seen:
                    seen.add(path)
                    yield _size(path)


def _path(item: Item) -> Path | None:
    return item.path if isinstance(item, Media) else None


def _size(path: Path) -> str:
    try:
        return str(path.stat().st_size)
    except (OSError, ValueError):
        return "none"


def _digest(texts: Iterator[str]) -> str:
    sha = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        sha.update(len(data).to_bytes(8, "little") + data)
    return sha.hexdigest()
