"""What preparers for networks that Keras saved share: the network's file is read by `fit` and goes with them.

The file says how media are laid out (a picture's side, a text's length), so it is opened here, when that is first
asked; the encoder runs the same network.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from sensorium.core.errors import ModelError
from sensorium.core.types import Item
from sensorium.data.keras_file import KerasFile, KerasNetwork


class KerasPreparer:
    """Prepare media as a network that Keras saved reads them; subclasses say how.

    Args:
        source: the file.
        layer: whose output is wanted; None = what the network itself puts out.
    """

    def __init__(self, source: str, layer: str | None) -> None:
        self.source, self.layer = source, layer
        self._file: KerasFile | None = None
        self._network: KerasNetwork | None = None

    @property
    def file(self) -> KerasFile:
        """The network as bytes.  Raises ModelError before `fit` or `load`."""
        if self._file is None:
            raise ModelError("the file was not read yet", where=self.source, advice="call fit or load")
        return self._file

    @property
    def network(self) -> KerasNetwork:
        """The network, opened when it is first needed.  Raises ModelError, MissingExtraError."""
        if self._network is None:
            self._network = KerasNetwork(self.file, self.layer)
        return self._network

    def _settle(self) -> None:
        """Find out how media are laid out.  Raises ModelError: the network reads something else."""
        raise NotImplementedError

    def _refused(self, wanted: str) -> ModelError:
        shape = ", ".join("any" if side is None else str(side) for side in self.network.shape)
        kind = "integers" if self.network.is_integer else "numbers"
        advice = "check the modality, or save a network without what comes before"
        return ModelError(f"reads {kind} ({shape}), not {wanted}", where=self.source, advice=advice)

    def fit(self, items: Iterable[Item]) -> Self:
        """Read the file; nothing is learned from `items`.  Raises ModelError, MissingExtraError."""
        self._file, self._network = KerasFile.read(self.source), None
        self._settle()
        return self

    def save(self, folder: Path) -> None:
        """Write the file into `folder`."""
        self.file.save(folder)

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; the source is not needed.  Raises ModelError."""
        self._file, self._network = KerasFile.load(folder), None
        self._settle()
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Loader processes open their own.
        return {**self.__dict__, "_network": None}
