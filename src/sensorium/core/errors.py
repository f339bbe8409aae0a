"""Errors a user can act on: what is wrong, where, why, and what to do.

Enters: the facts at the place of failure.  Leaves: one sentence and an exit code.
Everything Sensorium raises on purpose is a `SensoriumError`; the command line prints it without a
traceback and exits with its `exit_code`.
"""

from __future__ import annotations

from typing import Self


class SensoriumError(Exception):
    """Say `where: what (advice)`; subclasses fix the exit code.

    Args:
        what: the fault and its reason, as a clause without a full stop.
        where: file, row or key at fault, for example ``train.csv:812 photo 'a.jpg'``.
        advice: the next thing to do, as a clause.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", advice: str = "") -> None:
        self.what = what
        self.where = where
        self.advice = advice
        super().__init__(what, where, advice)

    def __str__(self) -> str:
        sentence = f"{self.where}: {self.what}" if self.where else self.what
        return f"{sentence} ({self.advice})" if self.advice else sentence

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (loader workers); keyword-only arguments need help to do so.
        return _rebuild, (type(self), self.what, self.where, self.advice)

    def at(self, where: str) -> Self:
        """Return the same error, its place prefixed by `where`."""
        place = f"{where} {self.where}".strip() if self.where else where
        return type(self)(self.what, where=place, advice=self.advice)


def _rebuild(kind: type[SensoriumError], what: str, where: str, advice: str) -> SensoriumError:
    return kind(what, where=where, advice=advice)


class UsageError(SensoriumError):
    """A command, argument or Python call that cannot be meant."""

    exit_code = 2


class ConfigError(UsageError):
    """A config key or value that is unknown, missing or out of range."""


class MissingExtraError(UsageError):
    """An optional package is needed; the advice names the extra to install."""


class DataError(SensoriumError):
    """A table, row or text that cannot be used."""

    exit_code = 3


class MediaError(DataError):
    """An image, sound or video that cannot, or may not, be decoded."""


class ModelError(SensoriumError):
    """A model that cannot be built, loaded, composed or trained further."""

    exit_code = 4


class DiskError(SensoriumError):
    """A folder that cannot be written, or lacks space."""

    exit_code = 5


class OutOfMemoryError(SensoriumError):
    """The batch or model does not fit into memory."""

    exit_code = 6


class LockedError(SensoriumError):
    """Another process is using the run folder or cache."""

    exit_code = 7
