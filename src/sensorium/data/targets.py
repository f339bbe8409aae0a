"""Target texts as token ids: each distinct text encoded once, BOS to EOS, end to end in one array.

Enters: target cells, one a row.  Leaves: padded (B, T) ids and masks by rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.vocabulary import BOS, EOS, PAD
from sensorium.data.tokenizers import Tokenizer


class TargetEncoder:
    """Encode target texts, the distinct ones once.

    Args:
        max_tokens: longest text in tokens, BOS and EOS not counted; None = any.  A longer one is cut,
            and still ends in EOS.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int | None) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._unit_of_text: dict[str, int] = {}
        self._flat = array("i")
        self._start = array("q", [0])
        self._is_cut: list[bool] = []

    def add(self, text: str) -> int:
        """Return the number of `text`, encoding it at first sight."""
        unit = self._unit_of_text.get(text)
        if unit is None:
            unit = self._unit_of_text[text] = len(self._is_cut)
            ids = self._tokenizer.encode(text)
            self._is_cut.append(self._max_tokens is not None and len(ids) > self._max_tokens)
            self._flat.extend([BOS, *ids[: self._max_tokens], EOS])
            self._start.append(len(self._flat))
        return unit

    def is_cut(self, unit: int) -> bool:
        """Say whether the text was longer than `max_tokens`."""
        return self._is_cut[unit]

    def finish(self, unit_N: npt.NDArray[np.int64]) -> TargetIds:
        """Return the ids of N rows, whose texts have the numbers `unit_N`."""
        return TargetIds(np.array(self._flat, np.int32), np.array(self._start, np.int64), unit_N)


class TargetIds:
    """Ragged token ids of N rows.

    Args:
        flat: all distinct targets end to end, int32.
        start_U: (U + 1,) where each begins.
        unit_N: (N,) which target a row has.
    """

    def __init__(
        self, flat: npt.NDArray[np.int32], start_U: npt.NDArray[np.int64], unit_N: npt.NDArray[np.int64]
    ) -> None:
        self._flat, self._start_U, self._unit_N = flat, start_U, unit_N

    def __iter__(self) -> Iterator[list[int]]:
        for unit in self._unit_N:
            yield self._flat[self._start_U[unit] : self._start_U[unit + 1]].tolist()

    def only(self, row_K: npt.NDArray[np.int64]) -> TargetIds:
        """Return the targets of some of the rows."""
        return TargetIds(self._flat, self._start_U, self._unit_N[row_K])

    def padded(self, row_B: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return ids (B, T) int64, padded with PAD on the right, and mask (B, T) bool."""
        unit_B = self._unit_N[row_B]
        start_B = self._start_U[unit_B]
        length_B = self._start_U[unit_B + 1] - start_B
        step_T = np.arange(length_B.max(initial=0))
        mask_BT = step_T < length_B[:, None]
        index_BT = np.where(mask_BT, start_B[:, None] + step_T, 0)
        token_BT = np.where(mask_BT, self._flat[index_BT], PAD) if self._flat.size else index_BT
        return torch.from_numpy(token_BT.astype(np.int64)), torch.from_numpy(mask_BT)
