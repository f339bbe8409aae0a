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
        ConfigError: no such folder of media, granted folder, or run to learn from.
    """
    for key, path in _places(config):
        if not path.exists():
            raise ConfigError(f"'{path}' is not there", where=key, advice=nearest_place(path))


def _places(config: PretrainingConfig) -> Iterator[tuple[str, Path]]:
    if config.data.folder is not None:
        yield "data.folder", Path(config.resolve(config.data.folder))
    for root in config.media.roots:
        yield "media.roots", root
    teacher = config.training.teacher
    if teacher is not None:
        if not is_run(teacher):
            raise ConfigError(f"'{teacher}' is no run", where="training.teacher", advice='"run:FOLDER"')
        yield "training.teacher", Path(absolute_spec(teacher, config.folder).removeprefix(SCHEME))
