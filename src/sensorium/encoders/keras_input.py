"""What the encoders by networks that Keras saved share: the network runs as it is, and learns nothing.

Enters: prepared media.  Leaves: features (U, T, F) of the layer that is wanted.  Keras runs on torch, on the CPU:
with `frozen = true`, which these encoders ask for, each medium passes once, and its features are kept.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from sensorium.core.config import Section
from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.outlet import Features, Outlet, encode


class KerasInput(Section):
    """Which network, and which of its outputs."""

    source: str
    """A file of model.save: .keras or .h5."""
    layer: str | None = None
    """The name of the layer whose output is read; by default what the network itself puts out."""


class KerasEncoder(nn.Module):
    """Encode with a network that Keras saved; subclasses say which modality, and lay out what it reads.

    Args:
        config: which network, and which of its outputs.
        preparer: fitted; it holds the network.
        width: D of the result.

    Raises:
        ModelError: no such layer, or a network that reads something else.
    """

    modality: str
    learns = False

    def __init__(self, config: KerasInput, preparer: Any, width: int) -> None:
        super().__init__()
        self.width = width
        self.preparer = preparer
        self.feature_width: int = preparer.network.feature_width
        self.outlet = Outlet(self.feature_width, width, num_positions=self._num_places())

    def _num_places(self) -> int:
        """Count the positions of a grid, which are told apart by learned vectors."""
        return 0

    def load_pretrained(self) -> Self:
        """Return self: the network came with its weights."""
        return self

    def features(self, values: Tensor, mask_UT: Tensor | None) -> Features:
        """Return (U, T, F) of the network, and the mask."""
        raise NotImplementedError

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, T, width)."""
        return encode(self, media)

    def _run(self, values: Tensor) -> Tensor:
        x_UTF: Tensor = self.preparer.network(values)
        return x_UTF

    def _along_time(
        self, values: Tensor, mask_UT: Tensor | None, length: int | None, *, before: bool = False
    ) -> Features:
        """Run media of different lengths (U, T, ...): filled up with zeros to `length`, or each length apart.

        A network of any length may let padding in, so that no clip would sound alike in two batches.
        """
        if mask_UT is None:
            mask_UT = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        num_U = mask_UT.sum(1)
        found: list[Tensor] = [values[:0]] * len(values)
        for num in sorted(set(num_U.tolist())):
            chosen_K = (num_U == num).nonzero()[:, 0]
            given = values[chosen_K, :num]
            x_KTF = self._run(given if length is None else _filled(given, length, before))
            if x_KTF.shape[1] == length:  # a position a token: those of the filling say nothing
                x_KTF = x_KTF[:, -num:] if before else x_KTF[:, :num]
            for u, x_TF in zip(chosen_K.tolist(), x_KTF, strict=True):
                found[u] = x_TF
        length_U = torch.tensor([len(x_TF) for x_TF in found], device=values.device)
        x_UTF = pad_sequence(found, batch_first=True)
        return x_UTF, torch.arange(x_UTF.shape[1], device=values.device) < length_U[:, None]


def _filled(values: Tensor, length: int, before: bool) -> Tensor:
    """Fill (K, T, ...) up with zeros to (K, length, ...)."""
    missing = length - values.shape[1]
    return pad(values, [0, 0] * (values.ndim - 2) + ([missing, 0] if before else [0, missing]))
