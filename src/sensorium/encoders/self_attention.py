"""The Transformer encoder block, pre-norm (Vaswani et al. 2017; Xiong et al. 2020), for text, images and sound.

Enters: (U, T, F) and a mask of real positions.  Leaves: (U, T, F).  Parameter names are torchvision's
(`ln_1`, `self_attention.in_proj_weight`, `mlp.0`, ...), so that published ViT weights load.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.core.attention import attention_weights
from sensorium.core.rotary import rotate


class SelfAttention(nn.Module):
    """softmax(Q K' / sqrt(d)) V over `num_heads` heads; padding is never attended to.

    Args:
        width: F, a multiple of `num_heads`.
        num_heads: H.
        dropout: chance that an attention weight is dropped.
    """

    linear_matrices = {"in_proj_weight": "OI"}

    def __init__(self, width: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, x_UTF: Tensor, mask_UT: Tensor | None = None, turn: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Return (U, T, F).  `turn` is `Rotary`'s; a row without a real position attends to all, never NaN."""
        num, length, width = x_UTF.shape
        q, k, v = self._heads(x_UTF, turn)
        y = F.scaled_dot_product_attention(
            q, k, v, attendable(mask_UT), dropout_p=self.dropout if self.training else 0.0
        )
        out: Tensor = self.out_proj(y.transpose(1, 2).reshape(num, length, width))
        return out

    def attention_weights(
        self, x_UTF: Tensor, mask_UT: Tensor | None = None, turn: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Return the weights (U, H, T, T) with which `forward` attends, for explanations."""
        q, k, _ = self._heads(x_UTF, turn)
        return attention_weights(q, k, attendable(mask_UT))

    def _heads(self, x_UTF: Tensor, turn: tuple[Tensor, Tensor] | None) -> Sequence[Tensor]:
        qkv = F.linear(x_UTF, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return (q, k, v) if turn is None else (rotate(q, *turn), rotate(k, *turn), v)


def attendable(mask_UT: Tensor | None) -> Tensor | None:
    """Return the (U, 1, 1, T) mask of keys; a row without a real one keeps all, so that softmax stays finite."""
    if mask_UT is None:
        return None
    return (mask_UT | ~mask_UT.any(1, keepdim=True))[:, None, None]


class EncoderBlock(nn.Module):
    """x + attention(ln_1(x)), then x + mlp(ln_2(x)).

    Args:
        width: F.
        num_heads: H.
        hidden: units of the MLP.
        dropout: chance that a value of either branch is dropped.
        eps: of the layer norms (1e-6 in published ViT).
    """

    def __init__(self, width: int, num_heads: int, hidden: int, dropout: float = 0.0, eps: float = 1e-5) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps)
        self.self_attention = SelfAttention(width, num_heads, dropout)
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = nn.LayerNorm(width, eps)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout)
        )

    def forward(
        self, x_UTF: Tensor, mask_UT: Tensor | None = None, turn: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Return (U, T, F)."""
        x_UTF = x_UTF + self.dropout(self.self_attention(self.ln_1(x_UTF), mask_UT, turn))
        return x_UTF + self.mlp(self.ln_2(x_UTF))  # type: ignore[no-any-return]
