"""Folders and runs that a config names: refused before any medium is read, if they are not there.

Enters: a validated config.  Leaves: nothing, or a ConfigError with the key and the near place.  Tables, and files
that encoders begin with, are opened before media are, and are refused there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sensorium.core.errors import ConfigError
from sensorium.core.names import nearest_place
from sensorium.model.taking import SCHEME, absolute_spec, is_run
from sensorium.workflow.config import PretrainingConfig


def require_places(config: PretrainingConfig) -> None:
    """Refuse folders that nobody has.

    Raises:
        ConfigError: no such folder of media or run to learn from; no granted folder is there.
    """
    for key, path in _places(config):
        if not path.exists():
            raise ConfigError(f"'{path}' is not there", where=key, advice=nearest_place(path))


def _places(config: PretrainingConfig) -> Iterator[tuple[str, Path]]:
    if config.data.folder is not None:
        yield "data.folder", Path(config.resolve(config.data.folder))
    if not any(root.exists() for root in config.media.roots):  # one of several may be another machine's
        yield from (("media.roots", root) for root in config.media.roots)
    teacher = config.training.teacher
    if teacher is not None:
        if not is_run(teacher):
            raise ConfigError(f"'{teacher}' is no run", where="training.teacher", advice='"run:FOLDER"')
        yield "training.teacher", Path(absolute_spec(teacher, config.folder).removeprefix(SCHEME))
