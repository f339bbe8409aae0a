"""The layers of a Llama-style decoder: grouped-query attention and a gated MLP, each behind an RMS norm.

Enters: hidden vectors (B, T, W), where they stand, and what was cached before them.  Leaves: the same shape.

    x = x + W_o attention(rotate(W_qkv norm(x))),   x = x + W_down (silu(W_gate norm(x)) * W_up norm(x))

Sources: Touvron et al. 2023 (LLaMA, section 2.2); Ainslie et al. 2023 (grouped-query attention, section 2.2).
Queries, keys and values come from one matrix, and so do gate and up: few rows cost what reading the weights costs,
and fewer, longer products read them faster.

Letters beside the shared ones: W width, H heads, G heads of keys and values, R = H / G, K head width, C capacity.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.core.matmul import Linear
from sensorium.core.rotary import Rotary
from sensorium.language.llama_shape import LlamaShape
from sensorium.language.transformer_block import Placement


class RMSNorm(nn.Module):
    """x / sqrt(mean x² + eps) * g, in float32 whatever x is, as the published weights expect it."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.gain_W = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return rms_norm(x, self.gain_W, self.eps)


def rms_norm(x: Tensor, gain_W: Tensor, eps: float) -> Tensor:
    """Return the normalised `x`, in its dtype; the gain is applied after rounding to it."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype) * gain_W


class Attention(nn.Module):
    """Attend to the tokens so far; R queries share a key and a value."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_width = shape.heads, shape.kv_heads, shape.head_width
        self.norm = RMSNorm(shape.width, shape.norm_eps)
        self.qkv = Linear(shape.width, (shape.heads + 2 * shape.kv_heads) * shape.head_width, bias=False)
        self.out = Linear(shape.heads * shape.head_width, shape.width, bias=False)

    def forward(self, x_BTW: Tensor, place: Placement, cache_B2GCK: Tensor | None) -> Tensor:
        """Return what attention adds, (B, T, W)."""
        num_rows, length, _ = x_BTW.shape
        heads, groups = self.heads, self.kv_heads
        qkv = self.qkv(self.norm(x_BTW)).view(num_rows, length, heads + 2 * groups, self.head_width)
        turned = _rotate(qkv[:, :, : heads + groups], place)
        q_BHTK = turned[:, :, :heads].transpose(1, 2)
        kv_B2GTK = torch.stack([turned[:, :, heads:], qkv[:, :, heads + groups :]], 1).transpose(2, 3)
        if cache_B2GCK is not None:
            kv_B2GTK = place.store(kv_B2GTK, cache_B2GCK)
        k_BHSK, v_BHSK = kv_B2GTK.repeat_interleave(heads // groups, 2).unbind(1)
        y_BHTK = F.scaled_dot_product_attention(
            q_BHTK, k_BHSK, v_BHSK, attn_mask=place.mask, is_causal=place.is_causal
        )
        y_BTW: Tensor = self.out(y_BHTK.transpose(1, 2).flatten(2))
        return y_BTW


def _rotate(x_BTHK: Tensor, place: Placement) -> Tensor:
    cos, signed_sin = place.cos.to(x_BTHK.dtype), place.signed_sin.to(x_BTHK.dtype)
    return torch.addcmul(x_BTHK * cos, x_BTHK.roll(x_BTHK.shape[-1] // 2, -1), signed_sin)


class Mlp(nn.Module):
    """Transform each position alone."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.norm = RMSNorm(shape.width, shape.norm_eps)
        self.gate_up = Linear(shape.width, 2 * shape.hidden, bias=False)
        self.down = Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x_BTW: Tensor) -> Tensor:
        """Return what the MLP adds, (B, T, W)."""
        gate, up = self.gate_up(self.norm(x_BTW)).chunk(2, -1)
        y_BTW: Tensor = self.down(F.silu(gate) * up)
        return y_BTW


class Layer(nn.Module):
    """Attention, then the MLP, each added to the residual stream."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.attention = Attention(shape)
        self.mlp = Mlp(shape)

    def forward(self, x_BTW: Tensor, place: Placement, cache_B2GCK: Tensor | None) -> Tensor:
        """Return (B, T, W)."""
        x_BTW = x_BTW + self.attention(x_BTW, place, cache_B2GCK)
        y_BTW: Tensor = x_BTW + self.mlp(x_BTW)
        return y_BTW


class Trunk(nn.Module):
    """Embedding, layers, last norm and output layer.

    Args:
        shape: its sizes.
        num_tokens: V.
    """

    def __init__(self, shape: LlamaShape, num_tokens: int) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(num_tokens, shape.width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.width, shape.norm_eps)
        # A parameter, not a linear layer: adapters go beside the layers alone.
        head = None if shape.tie_embeddings else nn.Parameter(0.02 * torch.randn(num_tokens, shape.width))
        self.head_VW = head
        self.rotary = Rotary(shape.head_width, shape.rotary_base)

    @property
    def output_VW(self) -> Tensor:
        """Return the weight of the output layer."""
        return self.embedding.weight if self.head_VW is None else self.head_VW

    def forward(self, x_BTW: Tensor, place: Placement, cache_BN2GCK: Tensor | None) -> Tensor:
        """Run the layers; the last norm is left to whoever knows which positions are needed."""
        caches: Any = (None,) * len(self.layers) if cache_BN2GCK is None else cache_BN2GCK.unbind(1)
        for layer, cache_B2GCK in zip(self.layers, caches, strict=True):
            x_BTW = layer(x_BTW, place, cache_B2GCK)
        return x_BTW

    def rotation(self, num_positions: int) -> Tensor:
        """Return cosines and signed sines, (2, P, 1, K), of the first `num_positions`."""
        return self.rotary.upto(num_positions)[:, :num_positions, 0]
