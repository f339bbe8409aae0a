"""metrics.jsonl: one JSON object a line, by step, without duplicates after a resume.

Enters: records with a "step".  Leaves: a file that plain `jq`, pandas or the report can read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from sensorium.core.commit import disk_error

METRICS = "metrics.jsonl"


class MetricsLog:
    """Append to `run/metrics.jsonl`; a context manager.

    Args:
        run: the run folder, which exists.
        after_step: lines of later steps are cut off: they will be written again.

    Raises:
        DiskError: the file cannot be written.
    """

    def __init__(self, run: Path, after_step: int) -> None:
        self._path = run / METRICS
        try:
            _cut(self._path, after_step)
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise disk_error(error, self._path) from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one line, on disk as far as this process goes when it returns; NaN becomes null."""
        clean = {key: _finite(value) for key, value in record.items()}
        try:
            self._file.write(json.dumps(clean) + "\n")
            self._file.flush()
        except OSError as error:
            raise disk_error(error, self._path) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def read_metrics(run: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a run; a last line that was cut short is left out."""
    path = run / METRICS
    if path.exists():
        for _, record in _records(path):
            yield record


def _cut(path: Path, after_step: int) -> None:
    if not path.exists():
        return
    keep = 0
    for end, record in _records(path):
        if record["step"] > after_step:
            break
        keep = end
    with path.open("r+b") as file:
        file.truncate(keep)


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (where its line ends, record) up to the first line that is not whole."""
    end = 0
    with path.open("rb") as file:
        for line in file:
            end += len(line)
            try:
                record = json.loads(line)
            except ValueError:  # a power cut may leave zeros
                return
            if not line.endswith(b"\n"):
                return
            yield end, record


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
