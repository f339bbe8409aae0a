"""Recurrent layers that are exact under padding, in one direction or both, without packing.

Enters: (U, T, F) and a mask of a real prefix.  Leaves: (U, T, H), zeros after a row's end.
The backward direction reads each row reversed within its own length, so no padding comes before a real
frame in either direction.  (Packing would do the same, but needs the lengths on the CPU: a stall on a GPU.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Cell = Literal["rnn", "lstm", "gru"]
CELLS: dict[Cell, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Recurrence(nn.Module):
    """Stack recurrent layers: Elman (1990), LSTM (Hochreiter and Schmidhuber 1997) or GRU (Cho et al. 2014).

    Args:
        cell: which.
        width_in: F.
        width: H, over both directions together.
        num_layers: how many.
        bidirectional: read each row from its end too (Schuster and Paliwal 1997); each half has H / 2 units.
        dropout: chance that a value between layers is dropped.
    """

    def __init__(
        self, cell: Cell, width_in: int, width: int, num_layers: int, bidirectional: bool, dropout: float
    ) -> None:
        super().__init__()
        units = width // 2 if bidirectional else width
        kind = CELLS[cell]
        widths = [width_in, *[width] * (num_layers - 1)]
        self.forward_layers = nn.ModuleList(kind(n, units, batch_first=True) for n in widths)
        self.backward_layers = nn.ModuleList(kind(n, units, batch_first=True) for n in widths if bidirectional)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_UTF: Tensor, mask_UT: Tensor) -> Tensor:
        """Return (U, T, H)."""
        reverse_UT = reversed_order(mask_UT)[..., None] if self.backward_layers else None
        for number, layer in enumerate(self.forward_layers):
            y_UTH = layer(x_UTF)[0]
            if reverse_UT is not None:
                back_UTH = self.backward_layers[number](_gather(x_UTF, reverse_UT))[0]
                y_UTH = torch.cat([y_UTH, _gather(back_UTH, reverse_UT)], dim=-1)
            x_UTF = self.dropout(y_UTH) if number + 1 < len(self.forward_layers) else y_UTH
        return x_UTF * mask_UT[..., None]


def reversed_order(mask_UT: Tensor) -> Tensor:
    """Return the index (U, T) that reverses each row's real prefix and leaves its padding in place."""
    index_T = torch.arange(mask_UT.shape[1], device=mask_UT.device)
    last_U1 = mask_UT.sum(1, keepdim=True) - 1
    return torch.where(index_T <= last_U1, last_U1 - index_T, index_T)


def _gather(x_UTF: Tensor, index_UT1: Tensor) -> Tensor:
    return x_UTF.gather(1, index_UT1.expand(-1, -1, x_UTF.shape[2]))
