"""Layers that let a language model look at a memory, inserted between its blocks, silent at the start.

    x = x + tanh(a) attention(LN(x), memory)
    x = x + tanh(b) MLP(LN(x))                     a = b = 0 at the start: the language model is what it was

Enters: hidden vectors (B, T, W) and the memory's keys and values.  Leaves: hidden vectors.  The memory has one
learned null position in front, so that nothing can be attended.

Source: Alayrac et al. 2022 (Flamingo), section 3.2 and figure 4.

Letters beside the shared ones: W the language model's width, H heads, K head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.core.types import Encoded

KeysValues = tuple[Tensor, Tensor]  # (B, H, 1+M, K) each


class GatedAttention(nn.Module):
    """Read from a memory, then think, each through a gate that begins closed.

    Args:
        memory_width: D.
        width: W.
        heads: H, a divisor of W.
    """

    def __init__(self, memory_width: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.null_D = nn.Parameter(torch.randn(memory_width))
        self.norm_memory = nn.LayerNorm(memory_width)
        self.to_key_value = nn.Linear(memory_width, 2 * width, bias=False)
        self.norm_query = nn.LayerNorm(width)
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)
        self.attention_gate = nn.Parameter(torch.zeros(()))
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.mlp_gate = nn.Parameter(torch.zeros(()))

    def keys_values(self, memory: Encoded) -> KeysValues:
        """Return keys and values of the null position and the memory."""
        key_BSW, value_BSW = self.to_key_value(self.norm_memory(with_null(memory, self.null_D))).chunk(2, -1)
        return self._by_head(key_BSW), self._by_head(value_BSW)

    def forward(self, x_BTW: Tensor, keys_values: KeysValues, mask_B11S: Tensor) -> Tensor:
        """Return (B, T, W)."""
        k_BHSK, v_BHSK = keys_values
        q_BHTK = self._by_head(self.to_query(self.norm_query(x_BTW)))
        y_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK, mask_B11S)
        x_BTW = x_BTW + self.attention_gate.tanh() * self.to_out(y_BHTK.transpose(1, 2).flatten(2))
        out_BTW: Tensor = x_BTW + self.mlp_gate.tanh() * self.mlp(x_BTW)
        return out_BTW

    def _by_head(self, x_BTW: Tensor) -> Tensor:
        num, length, width = x_BTW.shape
        return x_BTW.reshape(num, length, self.heads, width // self.heads).transpose(1, 2)


def with_null(memory: Encoded, null_D: Tensor) -> Tensor:
    """Return the memory behind one more position, (B, 1+M, D); padding is zero."""
    null_B1D = null_D.expand(len(memory.mask_BT), 1, -1)
    if memory.mask_BT.shape[1] == 0:
        return null_B1D
    return torch.cat([null_B1D, torch.where(memory.mask_BT[..., None], memory.x_BTD, 0).to(null_D.dtype)], 1)


def null_mask(memory: Encoded) -> Tensor:
    """Return the mask of what `with_null` returns, (B, 1+M) bool."""
    return F.pad(memory.mask_BT, (1, 0), value=True)


@dataclass(frozen=True, slots=True)
class Sight:
    """What the inserted layers look at in one call.

    Attributes:
        keys_values: one pair for each inserted layer, or none.
        mask_BS: which positions are real.
    """

    keys_values: tuple[KeysValues, ...]
    mask_BS: Tensor


class Looking:
    """Where the layers find what they look at: a network of another library cannot hand it through."""

    def __init__(self) -> None:
        self.sight: Sight | None = None


class SeeingBlock(nn.Module):
    """A block of a published network, looked through from outside, with a gated layer before it.

    It also hands the memory's mask to the block's own cross-attention, where the network around it forgets to.

    Args:
        inner: the block.
        looking: shared by all blocks of a network.
        number: which of the sight's keys and values are this one's.
        gate: the layer before it; None = only the mask is seen to.
    """

    def __init__(self, inner: nn.Module, looking: Looking, number: int, gate: GatedAttention | None) -> None:
        super().__init__()
        self.inner, self.gate = inner, gate
        self.looking, self.number = looking, number

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Call the gated layer and the block, which is otherwise called as it always is."""
        sight = self.looking.sight
        if sight is not None:
            if self.gate is not None:
                keys_values = sight.keys_values[self.number]
                hidden_states = self.gate(hidden_states, keys_values, sight.mask_BS[:, None, None])
            elif kwargs.get("encoder_attention_mask", 0) is None:
                kwargs["encoder_attention_mask"] = _additive(sight.mask_BS, hidden_states)
        return self.inner(hidden_states, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Find what the network asks of its block in the block."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)


def _additive(mask_BS: Tensor, like_BTW: Tensor) -> Tensor:
    """Return (B, 1, T, S): 0 where a position may be seen, the smallest number elsewhere."""
    smallest = torch.finfo(like_BTW.dtype).min
    bias_BS = torch.zeros_like(mask_BS, dtype=like_BTW.dtype).masked_fill(~mask_BS, smallest)
    return bias_BS[:, None, None].expand(-1, 1, like_BTW.shape[1], -1)
