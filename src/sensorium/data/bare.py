"""Tensors as plain arrays, for the pipe between loader processes.

Torch's own way to send a tensor moves it into shared memory; see `workers` for why it is not wanted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.types import Batch, MediaBatch


class BareTensor(NamedTuple):
    """A tensor's bytes, type and shape; numpy has no bfloat16, hence bytes."""

    data: npt.NDArray[np.uint8]
    dtype: torch.dtype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> BareTensor:
        """Take the bytes of a tensor in host memory."""
        data = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()
        return cls(data, tensor.dtype, tuple(tensor.shape))

    def tensor(self) -> Tensor:
        """Return the tensor again."""
        return torch.from_numpy(self.data).view(self.dtype).view(self.shape)


class BareMedia(NamedTuple):
    """A MediaBatch."""

    values: BareTensor
    mask_UT: BareTensor | None
    row_B: BareTensor
    list_SK: BareTensor | None


class BareBatch(NamedTuple):
    """A Batch."""

    row_id_B: BareTensor
    inputs: dict[str, BareMedia]
    token_BT: BareTensor | None
    mask_BT: BareTensor | None

    @classmethod
    def of(cls, batch: Batch) -> BareBatch:
        """Take the bytes of a batch in host memory."""
        inputs = {
            name: BareMedia(
                BareTensor.of(media.values), _bare(media.mask_UT), BareTensor.of(media.row_B), _bare(media.list_SK)
            )
            for name, media in batch.inputs.items()
        }
        return cls(BareTensor.of(batch.row_id_B), inputs, _bare(batch.token_BT), _bare(batch.mask_BT))

    def batch(self) -> Batch:
        """Return the batch again."""
        inputs = {
            name: MediaBatch(
                media.values.tensor(), _full(media.mask_UT), media.row_B.tensor(), _full(media.list_SK)
            )
            for name, media in self.inputs.items()
        }
        return Batch(self.row_id_B.tensor(), inputs, _full(self.token_BT), _full(self.mask_BT))


def _bare(tensor: Tensor | None) -> BareTensor | None:
    return None if tensor is None else BareTensor.of(tensor)


def _full(bare: BareTensor | None) -> Tensor | None:
    return None if bare is None else bare.tensor()
