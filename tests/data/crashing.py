"""Preparers whose decoder crashes its process, as native codecs sometimes do, or cannot be relied on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from sensorium.core.errors import MediaError
from sensorium.core.types import Item, Media


class FilePreparer:
    """Prepare a file as the codes of its bytes: (3,) uint8, or (T,) where `ragged`.

    Files that hold 'bad' cannot be decoded; those that hold 'kill' end the process.
    """

    modality = "bytes"

    def __init__(self, *, ragged: bool = False, dtype: torch.dtype = torch.uint8) -> None:
        self.ragged = ragged
        self.dtype = dtype

    def item(self, cell: str, folder: Path) -> Item:
        return Media(path=folder / cell) if cell else None

    def fit(self, items: Iterable[Item]) -> Self:
        return self

    def __call__(self, item: Item) -> Tensor:
        assert isinstance(item, Media)
        data = item.data or (item.path or Path()).read_bytes()
        if b"bad" in data:
            raise MediaError("is bad", where=str(item))
        if b"kill" in data:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.tensor(list(data if self.ragged else data[:3]), dtype=self.dtype)

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        if not values:
            return torch.zeros(0, 3, dtype=self.dtype), torch.ones(0, 3, dtype=torch.bool) if self.ragged else None
        if not self.ragged:
            return torch.stack(list(values)), None
        length = torch.tensor([len(value) for value in values])
        padded = torch.nn.utils.rnn.pad_sequence(list(values), batch_first=True)
        return padded, torch.arange(padded.shape[1]) < length[:, None]

    @property
    def fingerprint(self) -> str:
        return f"file.{self.ragged}.{self.dtype}"

    def save(self, folder: Path) -> None:
        pass

    def load(self, folder: Path) -> Self:
        return self


class ReversedPreparer(FilePreparer):
    """Collate in a way of its own: padded in front, with ones."""

    def __init__(self) -> None:
        super().__init__(ragged=True)

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        if not values:
            return super().collate(values)
        longest = max(len(value) for value in values)
        rows = [torch.cat([torch.ones(longest - len(v), dtype=v.dtype), v]) for v in values]
        length = torch.tensor([len(value) for value in values])
        return torch.stack(rows), torch.arange(longest) >= longest - length[:, None]
