"""One token for rows of equal length: what `transformer_block` computes, in half the operations.

Enters: hidden vectors (B, W) of one token a row, and the state.  Leaves: hidden vectors after all layers.
Generation spends its time here, and for the small models of a CPU most of it on starting operations, not
on arithmetic.  With T = 1 nothing is transposed, masked or dropped; views into the cache are cut once for
all layers; parameters are looked up once a generation.  The contract suite holds it to the plain path.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.core.matmul import linear
from sensorium.language.transformer_block import Block, Memory

_FEW_ROWS = 4  # below, a product only reads its weight, and the plain call starts sooner


class _Layer(NamedTuple):
    attention_gain: Tensor
    qkv: Tensor
    attention_out: Tensor
    memory: tuple[Tensor, Tensor, Tensor] | None  # gain, query, out
    mlp_gain: Tensor
    mlp_inner: Tensor
    mlp_out: Tensor


class StepWeights:
    """The layers' parameters, gathered when a generation starts; not a pytree, so `select` passes it on."""

    __slots__ = ("heads", "is_gated", "layers")

    def __init__(self, blocks: nn.ModuleList, heads: int, is_gated: bool) -> None:
        self.heads, self.is_gated = heads, is_gated
        self.layers = [_gather(block) for block in blocks if isinstance(block, Block)]


def _gather(block: Block) -> _Layer:
    attention, memory, mlp = block.self_attention, block.memory_attention, block.mlp
    return _Layer(
        attention_gain=attention.norm.gain_W,
        qkv=attention.qkv.weight_IO,
        attention_out=attention.out.weight_IO,
        memory=None if memory is None else (memory.norm.gain_W, memory.query.weight_IO, memory.out.weight_IO),
        mlp_gain=mlp.norm.gain_W,
        mlp_inner=mlp.inner.weight_IO,
        mlp_out=mlp.out.weight_IO,
    )


def step(
    weights: StepWeights,
    x_BW: Tensor,
    rotation_231K: Tensor,
    cache_BN2HCK: Tensor,
    slot: int,
    memory: Memory | None,
) -> Tensor:
    """Run all layers over one token a row, which is written into `slot` of the cache; returns (B, W).

    Args:
        weights: gathered from the blocks.
        x_BW: (B, W) the tokens' embeddings.
        rotation_231K: (2, 3, 1, K) cosines and signed sines of this slot (see `rotary`).
        cache_BN2HCK: keys and values before; slots from `slot` on are free.
        slot: how many tokens every row has had.
        memory: keys and values of the memory, if it is attended.
    """
    num_rows, width = x_BW.shape
    head_width = width // weights.heads
    product = torch.mm if num_rows < _FEW_ROWS else _product
    cos, signed_sin = rotation_231K[..., None, :].unbind(0)
    writes = cache_BN2HCK[..., slot : slot + 1, :].unbind(1)
    reads = cache_BN2HCK[..., : slot + 1, :].flatten(1, 2).unbind(1)
    memories = [] if memory is None else memory.by_layer()
    for i, layer in enumerate(weights.layers):
        qkv = product(_norm(x_BW, layer.attention_gain), layer.qkv).view(num_rows, 3, weights.heads, 1, head_width)
        qkv = torch.addcmul(qkv * cos, qkv.roll(head_width // 2, -1), signed_sin)
        writes[i].copy_(qkv[:, 1:])
        y_BH1K = F.scaled_dot_product_attention(qkv[:, 0], reads[2 * i], reads[2 * i + 1])
        x_BW = x_BW + product(y_BH1K.reshape(num_rows, width), layer.attention_out)
        if memory is not None and layer.memory is not None:
            gain, query, out = layer.memory
            q_BH1K = product(_norm(x_BW, gain), query).view(num_rows, weights.heads, 1, head_width)
            y_BH1K = F.scaled_dot_product_attention(q_BH1K, *memories[i], attn_mask=memory.mask_B11M)
            x_BW = x_BW + product(y_BH1K.reshape(num_rows, width), out)
        hidden = product(_norm(x_BW, layer.mlp_gain), layer.mlp_inner)
        if weights.is_gated:
            gate, up = hidden.chunk(2, -1)
            hidden = F.silu(gate).mul_(up)
        else:
            hidden = F.gelu(hidden)
        x_BW = x_BW + product(hidden, layer.mlp_out)
    return x_BW


def _product(x_BW: Tensor, weight_IO: Tensor) -> Tensor:
    return linear(x_BW, weight_IO.t())


def _norm(x_BW: Tensor, gain_W: Tensor) -> Tensor:
    length_B1 = torch.linalg.vector_norm(x_BW, dim=-1, keepdim=True).clamp_min_(1e-6)
    y_BW: Tensor = (x_BW / length_B1).mul_(gain_W)
    return y_BW
