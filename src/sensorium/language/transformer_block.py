"""One decoder layer: self-attention over a cache, attention to the memory, a gated MLP.

Enters: hidden vectors (B, T, W) of T tokens, where they stand, and what was cached before them.
Leaves: hidden vectors of the same shape; their keys and values are written into the cache.
Sources: Vaswani et al. 2017; pre-norm with RMSNorm (Zhang and Sennrich 2019); SwiGLU (Shazeer 2020).

Letters beside the shared ones: W decoder width, H heads, K head width, C cache capacity, S attended slots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.core.attention import attention_weights
from sensorium.core.matmul import linear
from sensorium.core.rotary import rotate

_SMALLEST_CACHE = 8


def with_capacity(cache_BN2HCK: Tensor, needed: int) -> Tensor:
    """Return the cache with room for `needed` slots, doubled where it has to grow."""
    capacity = cache_BN2HCK.shape[-2]
    if needed <= capacity:
        return cache_BN2HCK
    return F.pad(cache_BN2HCK, (0, 0, 0, max(_SMALLEST_CACHE, 2 * capacity, needed) - capacity))


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the T tokens of one call stand, worked out once for all layers.

    Attributes:
        cos, signed_sin: rotation, (T, 3, 1, K) or (B, T, 3, 1, K).
        mask: bool (..., T, S) or None; True = the token may look at the slot.
        is_causal: the tokens begin at slot 0, so that causality alone is the mask.
        first: the first slot, where all rows are equally long.
        slot_BT: each row's own slots; None where all rows are equally long.
        end: how many slots may hold tokens after this call.
    """

    cos: Tensor
    signed_sin: Tensor
    mask: Tensor | None
    is_causal: bool
    first: int
    slot_BT: Tensor | None
    end: int

    @classmethod
    def whole(cls, table_2P1K: Tensor, length: int) -> Placement:
        """Place a whole sequence, right-padded: causality alone keeps padding out of sight."""
        cos, signed_sin = table_2P1K[:, :length].unbind(0)
        return cls(cos, signed_sin, None, True, 0, None, length)

    @classmethod
    def after(cls, table_2P1K: Tensor, longest: int, length: int, length_B: Tensor | None) -> Placement:
        """Place `length` tokens behind what a cache holds.

        Args:
            table_2P1K: rotation of `longest + length` positions or more.
            longest: slots that the longest row has filled.
            length: T.
            length_B: how many slots each row has filled; None where all have filled `longest`.
        """
        end, device = longest + length, table_2P1K.device
        if length_B is None:
            mask = None
            if longest > 0 and length > 1:
                mask = torch.ones(length, end, dtype=torch.bool, device=device).tril(longest)
            cos, signed_sin = table_2P1K[:, longest:end].unbind(0)
            return cls(cos, signed_sin, mask, longest == 0 and length > 1, longest, None, end)
        slot_BT = length_B[:, None] + torch.arange(length, device=device)
        # Slot s holds position s of its row, so a token sees slots up to its own; padding lies beyond.
        mask = torch.arange(end, device=device) <= slot_BT[:, None, :, None]
        cos, signed_sin = table_2P1K[:, slot_BT].unbind(0)
        return cls(cos, signed_sin, mask, False, longest, slot_BT, end)

    def store(self, kv_B2HTK: Tensor, cache_B2HCK: Tensor) -> Tensor:
        """Write keys and values into their slots; returns all that may be attended, (B, 2, H, S, K)."""
        if self.slot_BT is None:
            cache_B2HCK[:, :, :, self.first : self.end] = kv_B2HTK
        else:
            row_B1 = torch.arange(kv_B2HTK.shape[0], device=kv_B2HTK.device)[:, None]
            cache_B2HCK[row_B1, :, :, self.slot_BT] = kv_B2HTK.permute(0, 3, 1, 2, 4).to(cache_B2HCK.dtype)
        return cache_B2HCK[:, :, :, : self.end]


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory as attention wants it.

    Attributes:
        kv_BN2HMK: (B, N, 2, H, M, K) keys and values for each of N layers.
        mask_B11M: (B, 1, 1, M) bool, True = real; None = all.
    """

    kv_BN2HMK: Tensor
    mask_B11M: Tensor | None

    def by_layer(self) -> list[tuple[Tensor, Tensor]]:
        """Return each layer's keys and values, (B, H, M, K) both."""
        parts = self.kv_BN2HMK.flatten(1, 2).unbind(1)
        return list(zip(parts[::2], parts[1::2], strict=True))


class Projection(nn.Module):
    """A linear map without bias, drawn from N(0, gain / sqrt(width_in)).

    The scale of GPT-2 (0.02) is that of a width of 2,500; on the small widths of a CPU it silences the
    memory, and the decoder learns to do without it.  The weight lies input first: generation, whose few
    rows leave reading the weights as the only cost, is up to twice as fast with x W as with x W^T.
    """

    linear_matrices = {"weight_IO": "IO"}

    def __init__(self, width_in: int, width_out: int, gain: float = 1.0) -> None:
        super().__init__()
        self.weight_IO = nn.Parameter(torch.randn(width_in, width_out) * (gain / math.sqrt(width_in)))

    def forward(self, x: Tensor) -> Tensor:
        """Map the last dimension."""
        return linear(x, self.weight_IO.t())


class RMSNorm(nn.Module):
    """x / rms(x) * g, the root of the width being inside g: half the operations of `nn.RMSNorm`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain_W = nn.Parameter(torch.full((width,), math.sqrt(width)))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension; zeros stay zeros."""
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-6)
        y: Tensor = x / length * self.gain_W
        return y


class SelfAttention(nn.Module):
    """Attend to the tokens so far."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = RMSNorm(width)
        self.qkv = Projection(width, 3 * width)
        self.out = Projection(width, width, gain=1 / math.sqrt(2 * depth))

    def forward(self, x_BTW: Tensor, place: Placement, cache_B2HCK: Tensor | None) -> Tensor:
        """Return what attention adds, (B, T, W); without a cache the tokens are all there is."""
        num_rows, length, width = x_BTW.shape
        qkv_BT3HK = self.qkv(self.norm(x_BTW)).view(num_rows, length, 3, self.heads, width // self.heads)
        qkv_B3HTK = rotate(qkv_BT3HK, place.cos, place.signed_sin).permute(0, 2, 3, 1, 4)
        q_BHTK, k_BHSK, v_BHSK = qkv_B3HTK.unbind(1)
        if cache_B2HCK is not None:
            k_BHSK, v_BHSK = place.store(qkv_B3HTK[:, 1:], cache_B2HCK).to(q_BHTK.dtype).unbind(1)
        y_BHTK = F.scaled_dot_product_attention(
            q_BHTK, k_BHSK, v_BHSK, attn_mask=place.mask, is_causal=place.is_causal
        )
        y_BTW: Tensor = self.out(y_BHTK.transpose(1, 2).reshape(num_rows, length, width))
        return y_BTW

    def weights(self, x_BTW: Tensor, place: Placement) -> Tensor:
        """Return the weights (B, H, T, T) of whole, right-padded sequences, for explanations."""
        num_rows, length, width = x_BTW.shape
        qkv_BT3HK = self.qkv(self.norm(x_BTW)).view(num_rows, length, 3, self.heads, width // self.heads)
        q_BHTK, k_BHTK, _ = rotate(qkv_BT3HK, place.cos, place.signed_sin).permute(2, 0, 3, 1, 4)
        causal_TT = torch.ones(length, length, dtype=torch.bool, device=x_BTW.device).tril()
        return attention_weights(q_BHTK, k_BHTK, causal_TT)


class MemoryAttention(nn.Module):
    """Attend to the memory, whose keys and values were made once."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = RMSNorm(width)
        self.query = Projection(width, width)
        self.out = Projection(width, width, gain=1 / math.sqrt(2 * depth))

    def forward(self, x_BTW: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, mask_B11M: Tensor | None) -> Tensor:
        """Return what attention adds, (B, T, W)."""
        num_rows, length, width = x_BTW.shape
        q_BHTK = self._queries(x_BTW)
        k_BHMK, v_BHMK = k_BHMK.to(q_BHTK.dtype), v_BHMK.to(q_BHTK.dtype)
        y_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHMK, v_BHMK, attn_mask=mask_B11M)
        y_BTW: Tensor = self.out(y_BHTK.transpose(1, 2).reshape(num_rows, length, width))
        return y_BTW

    def weights(self, x_BTW: Tensor, k_BHMK: Tensor, mask_B11M: Tensor | None) -> Tensor:
        """Return the weights (B, H, T, M) with which `forward` attends, for explanations."""
        q_BHTK = self._queries(x_BTW)
        return attention_weights(q_BHTK, k_BHMK.to(q_BHTK.dtype), mask_B11M)

    def _queries(self, x_BTW: Tensor) -> Tensor:
        num_rows, length, width = x_BTW.shape
        query_BTW: Tensor = self.query(self.norm(x_BTW))
        return query_BTW.view(num_rows, length, self.heads, width // self.heads).transpose(1, 2)


class Mlp(nn.Module):
    """Transform each position alone: W_out(silu(gate) * up), or W_out(gelu(up))."""

    def __init__(self, width: int, hidden: int, depth: int, is_gated: bool) -> None:
        super().__init__()
        self.is_gated = is_gated
        self.norm = RMSNorm(width)
        self.inner = Projection(width, 2 * hidden if is_gated else hidden)
        self.out = Projection(hidden, width, gain=1 / math.sqrt(2 * depth))

    def forward(self, x_BTW: Tensor) -> Tensor:
        """Return what the MLP adds, (B, T, W)."""
        hidden = self.inner(self.norm(x_BTW))
        if self.is_gated:
            gate, up = hidden.chunk(2, -1)
            hidden = F.silu(gate) * up
        else:
            hidden = F.gelu(hidden)
        y_BTW: Tensor = self.out(hidden)
        return y_BTW


class Block(nn.Module):
    """One layer; each part is added to the residual stream, with dropout in training."""

    def __init__(
        self, width: int, heads: int, hidden: int, depth: int, *, is_gated: bool, sees_memory: bool, dropout: float
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.self_attention = SelfAttention(width, heads, depth)
        self.memory_attention = MemoryAttention(width, heads, depth) if sees_memory else None
        self.mlp = Mlp(width, hidden, depth, is_gated)

    def forward(
        self,
        x_BTW: Tensor,
        place: Placement,
        cache_B2HCK: Tensor | None,
        memory: tuple[Tensor, Tensor] | None,
        memory_mask_B11M: Tensor | None,
    ) -> Tensor:
        """Return (B, T, W)."""
        x_BTW = x_BTW + self._drop(self.self_attention(x_BTW, place, cache_B2HCK))
        if self.memory_attention is not None and memory is not None:
            x_BTW = x_BTW + self._drop(self.memory_attention(x_BTW, *memory, memory_mask_B11M))
        return x_BTW + self._drop(self.mlp(x_BTW))

    def weights(
        self, x_BTW: Tensor, place: Placement, k_BHMK: Tensor, mask_B11M: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return its weights on tokens (B, T, T) and on memory (B, T, M), mean over heads, for explanations."""
        own_BTT = self.self_attention.weights(x_BTW, place).mean(1)
        if self.memory_attention is None:
            return own_BTT, x_BTW.new_zeros(*x_BTW.shape[:2], k_BHMK.shape[2])
        x_BTW = x_BTW + self.self_attention(x_BTW, place, None)
        return own_BTT, self.memory_attention.weights(x_BTW, k_BHMK, mask_B11M).mean(1)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x
