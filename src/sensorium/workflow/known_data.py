"""What a run was begun with, so that a resumed one goes on with the same or not at all.

Enters: opened and prepared tables, and the model made for them.  Leaves: a name and a digest of each thing that the
weights depend on: columns by part, media by their sizes, rows that can be used, vocabularies.  A checkpoint keeps
them, and one of other data is refused by name (`training.checkpoint.require_same_data`).  Copies in another folder
have the same digests.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from sensorium.core.errors import DataError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Item, Media
from sensorium.data.scan import InputSpec
from sensorium.model.conditioner import Conditioner
from sensorium.workflow.config import PretrainingConfig
from sensorium.workflow.prepare import Part, Prepared, media_root
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
    for name in USED:
        part = parts[name]
        for column in sorted(set(config.model.columns.values())):
            known[f"column '{column}' of the {name} rows"] = _digest(_cells(part, column))
        for key, spec in _read(config, model.preparers).items():
            known[f"the files of input '{key}' in the {name} rows"] = _digest(_sizes(config, part, spec))
        known[f"the number of {name} rows that can be used"] = str(num_rows[name])
    return known


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
