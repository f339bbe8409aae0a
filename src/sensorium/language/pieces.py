"""Rows cut so that a pass over them fits in memory, however long their texts and however large the vocabulary.

Enters: rows with their targets and conditioning.  Leaves: the same rows in pieces, or their scores.
A scorer that needs every word at every position holds rows x positions x words numbers, several times over; whoever
judges, weighs or explains by scores takes them from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.core.pytree import select
from sensorium.core.types import Conditioning
from sensorium.language.parts import Scored

MOST_NUMBERS = 1 << 24
"""Rows x positions x words of one piece: 64 MiB of log-probabilities, which compositions hold up to eight times."""


def pieces(
    token_BT: Tensor, mask_BT: Tensor, cond: Conditioning, num_words: int, most: int | None = None
) -> Iterator[Scored]:
    """Cut B rows into runs of at most `most` (None = MOST_NUMBERS) numbers each, a row at least; none are left out.

    A run is as long as its longest text.
    """
    rows, length = token_BT.shape
    size = max(1, (MOST_NUMBERS if most is None else most) // max(1, length * num_words))
    if size >= rows:
        yield token_BT, mask_BT, cond
        return
    for start in range(0, rows, size):
        row_R = torch.arange(start, min(start + size, rows), device=token_BT.device)
        longest = max(1, int(mask_BT[row_R].sum(1).max()))
        yield token_BT[row_R, :longest], mask_BT[row_R, :longest], select(cond, row_R)


def score_in_pieces(scorer: Any, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
    """Return `scorer.score`, log p(token_t | before t, cond) (B, T), within bounded memory."""
    length = token_BT.shape[1]
    if not len(token_BT):
        return torch.zeros(token_BT.shape, device=token_BT.device)
    found = [
        F.pad(scorer.score(*piece), (0, length - piece[0].shape[1]))
        for piece in pieces(token_BT, mask_BT, cond, len(scorer.vocab))
    ]
    return found[0] if len(found) == 1 else torch.cat(found)
