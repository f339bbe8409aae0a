"""What preparers of published networks share: they learn from the source's own files, and keep them.

`fit` reads the source, not the training items; what it read is saved with the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from sensorium.core.errors import ModelError
from sensorium.core.types import Item
from sensorium.data.published import Published


class PublishedPreparer:
    """Prepare media as a published network expects; subclasses open its processor.

    Args:
        source: a folder, or a name on the hub.
        revision: a commit on the hub.
    """

    def __init__(self, source: str, revision: str | None) -> None:
        self.source, self.revision = source, revision
        self._published: Published | None = None
        self._processor: Any = None

    @property
    def published(self) -> Published:
        """The network's small files.  Raises ModelError before `fit` or `load`."""
        if self._published is None:
            raise ModelError("the published files were not read yet", where=self.source, advice="call fit or load")
        return self._published

    @property
    def processor(self) -> Any:
        """What transformers prepares such media with, opened when it is first needed.  Raises ModelError."""
        if self._processor is None:
            self._processor = self._open()
        return self._processor

    def _open(self) -> Any:
        """Open the processor from the published files."""
        raise NotImplementedError

    def _settle(self) -> None:
        """Find out what has to be known of the processor."""

    def fit(self, items: Iterable[Item]) -> Self:
        """Read the source's files; nothing is learned from `items`.  Raises ModelError, MissingExtraError."""
        self._take(Published.read(self.source, self.revision))
        return self

    def save(self, folder: Path) -> None:
        """Write the source's small files into `folder`."""
        self.published.save(folder)

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; the source is not needed.  Raises ModelError."""
        self._take(Published.load(folder))
        return self

    def _take(self, published: Published) -> None:
        self._published, self._processor = published, None
        self._settle()

    def __getstate__(self) -> dict[str, Any]:
        # Loader processes open their own.
        return {**self.__dict__, "_processor": None}
