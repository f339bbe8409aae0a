"""Recurrent decoders (RNN, LSTM, GRU) that attend to the memory, as a scorer.

Enters: tokens and a memory of any width (or none).  Leaves: log p(next), or the score of each token.
Sources: Hochreiter and Schmidhuber 1997 (LSTM), Cho et al. 2014 (GRU); attention as in Luong et al.
2015, "Effective approaches to attention-based neural machine translation", equations 5 to 8, "general":

    a_t = softmax_m(h_t . W_a m),   c_t = sum_m a_t m,   h~_t = tanh(W_c [c_t; h_t])

with one learned null position beside the memory, so that a memory of nothing can be attended.

Letters beside the shared ones: N layers, W decoder width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import Vocab
from sensorium.language.emission import emission_bias, score_targets

_CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@dataclass(frozen=True, slots=True)
class Attended:
    """A memory made ready: keys (B, 1+M, W), values (B, 1+M, D) and mask (B, 1+M); position 0 is null."""

    key_BMW: Tensor
    value_BMD: Tensor
    mask_BM: Tensor


@dataclass(frozen=True, slots=True)
class RecurrentState:
    """Each layer's hidden vector, the LSTM's cell vector, and the memory.

    Attributes:
        hidden_BNW: (B, N, W).
        cell_BNW: (B, N, W); None but for an LSTM.
        memory: what is attended; None without attention.
    """

    hidden_BNW: Tensor
    cell_BNW: Tensor | None
    memory: Attended | None


class LuongAttention(nn.Module):
    """Let each hidden vector look at the memory."""

    def __init__(self, memory_width: int, width: int) -> None:
        super().__init__()
        self.key = nn.Linear(memory_width, width, bias=False)
        self.out = nn.Linear(memory_width + width, width)
        self.null_value_D = nn.Parameter(torch.randn(memory_width) * memory_width**-0.5)

    def ready(self, memory: Encoded) -> Attended:
        """Work out what every step needs of the memory."""
        num_rows, length = memory.mask_BT.shape
        value_BMD = self.null_value_D.expand(num_rows, 1, -1)
        if length:
            real_BMD = torch.where(memory.mask_BT[..., None], memory.x_BTD, 0)
            value_BMD = torch.cat([value_BMD, real_BMD.to(value_BMD.dtype)], 1)
        return Attended(self.key(value_BMD), value_BMD, F.pad(memory.mask_BT, (1, 0), value=True))

    def forward(self, hidden_BTW: Tensor, memory: Attended) -> Tensor:
        """Return h~ (B, T, W)."""
        score_BTM = hidden_BTW @ memory.key_BMW.transpose(1, 2)
        weight_BTM = score_BTM.masked_fill(~memory.mask_BM[:, None], -torch.inf).softmax(-1)
        seen_BTD = weight_BTM @ memory.value_BMD.to(weight_BTM.dtype)
        attended_BTW: Tensor = self.out(torch.cat([seen_BTD, hidden_BTW], -1)).tanh()
        return attended_BTW


class Recurrent(nn.Module):
    """Score words by a recurrent network whose first hidden vector comes from the averaged memory.

    Args:
        config: its shape.
        vocab: what it predicts.
        width: of the memory; the decoder's own width is `config.width`.
    """

    fitted_by = "gradient"
    linear_matrices = {"head": "OI"}

    class Config(Section):
        """The decoder's shape."""

        cell: Literal["rnn", "lstm", "gru"] = "gru"
        layers: int = Field(1, ge=1)
        width: int = Field(256, ge=1)
        attention: bool = True
        dropout: float = Field(0.1, ge=0, lt=1)
        tie_embeddings: bool = True

    emission_bias_V: Tensor

    def __init__(self, config: Config, vocab: Vocab, width: int) -> None:
        super().__init__()
        self.config, self.vocab, self.memory_width = config, vocab, width
        self.embedding = nn.Embedding(len(vocab), config.width)
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)
        num_states = 2 if config.cell == "lstm" else 1
        self.first = nn.Linear(width, num_states * config.layers * config.width)
        between = config.dropout if config.layers > 1 else 0.0
        self.rnn = _CELLS[config.cell](
            input_size=config.width,
            hidden_size=config.width,
            num_layers=config.layers,
            batch_first=True,
            dropout=between,
        )
        self.attention = LuongAttention(width, config.width) if config.attention else None
        self.head = None if config.tie_embeddings else nn.Parameter(self.embedding.weight.detach().clone())
        self.register_buffer("emission_bias_V", emission_bias(vocab), persistent=False)

    @torch.no_grad()
    def start(self, cond: Conditioning) -> RecurrentState:
        """Begin B rows."""
        return self._begin(cond)

    @torch.no_grad()
    def extend(self, state: RecurrentState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, RecurrentState]:
        """Feed T tokens; returns log p(next) (B, V) and the new state."""
        hidden_BW, state = self.extend_hidden(state, token_BT, mask_BT)
        return self.predict(hidden_BW), state

    @property
    def hidden_width(self) -> int:
        """Return W of the hidden vectors."""
        return self.config.width

    @torch.no_grad()
    def extend_hidden(
        self, state: RecurrentState, token_BT: Tensor, mask_BT: Tensor
    ) -> tuple[Tensor, RecurrentState]:
        """Feed T tokens; returns h~ (B, W), or h without attention, and the new state."""
        x_BTW = self.embedding(token_BT)
        if token_BT.shape[1] == 1 or bool(mask_BT.all()):
            _, last = self.rnn(x_BTW, self._layers_first(state))
        else:  # packing stops each row at its last real token, in every layer
            length_B = mask_BT.sum(1).cpu()
            packed = nn.utils.rnn.pack_padded_sequence(x_BTW, length_B, batch_first=True, enforce_sorted=False)
            _, last = self.rnn(packed, self._layers_first(state))
        hidden_NBW, cell_NBW = last if isinstance(last, tuple) else (last, None)
        cell_BNW = None if cell_NBW is None else cell_NBW.transpose(0, 1)
        state = RecurrentState(hidden_NBW.transpose(0, 1), cell_BNW, state.memory)
        return self._attended(hidden_NBW[-1][:, None], state.memory)[:, 0], state

    def predict(self, hidden: Tensor) -> Tensor:
        """Return log p(next) (..., V) from hidden vectors (..., W)."""
        return self._output(hidden).log_softmax(-1, dtype=torch.float32)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t) (B, T), for all positions in one run."""
        if token_BT.shape[1] == 1:
            return torch.zeros_like(token_BT, dtype=torch.float32)
        return score_targets(
            self._output(self.unroll_hidden(token_BT[:, :-1], mask_BT[:, :-1], cond)), token_BT, mask_BT
        )

    def unroll(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(next) after each position, (B, T, V), in one run."""
        return self.predict(self.unroll_hidden(token_BT, mask_BT, cond))

    def unroll_hidden(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return the hidden vector after each position, (B, T, W), in one run."""
        state = self._begin(cond)
        x_BTW = F.dropout(self.embedding(token_BT), self.config.dropout, self.training)
        hidden_BTW, _ = self.rnn(x_BTW, self._layers_first(state))
        return self._attended(hidden_BTW, state.memory)

    def _begin(self, cond: Conditioning) -> RecurrentState:
        memory, num_rows = cond.memory, cond.num_rows
        empty = memory.mask_BT.shape[1] == 0  # and then of no width that we could project
        mean_BD = self.first.weight.new_zeros(num_rows, self.memory_width) if empty else memory.mean_BD()
        first = self.first(mean_BD).tanh().unflatten(1, (-1, self.config.layers, self.config.width))
        cell_BNW = first[:, 1] if first.shape[1] > 1 else None
        return RecurrentState(first[:, 0], cell_BNW, self.attention.ready(memory) if self.attention else None)

    @staticmethod
    def _layers_first(state: RecurrentState) -> Tensor | tuple[Tensor, Tensor]:
        hidden_NBW = state.hidden_BNW.transpose(0, 1).contiguous()
        if state.cell_BNW is None:
            return hidden_NBW
        return hidden_NBW, state.cell_BNW.transpose(0, 1).contiguous()

    def _attended(self, hidden_BTW: Tensor, memory: Attended | None) -> Tensor:
        if self.attention is None or memory is None:
            return hidden_BTW
        attended_BTW: Tensor = self.attention(hidden_BTW, memory)
        return attended_BTW

    def _output(self, hidden: Tensor) -> Tensor:
        weight_VW = self.embedding.weight if self.head is None else self.head
        return F.linear(F.dropout(hidden, self.config.dropout, self.training), weight_VW, self.emission_bias_V)
