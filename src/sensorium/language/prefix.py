"""What stands before the first token of a language model: the memory, in the width of its word vectors.

Enters: `Encoded` of any width D, padding anywhere.  Leaves: vectors (B, P, W), real ones to the left, and a mask.

    prefix = LN(f(LN(m)))

    linear      f(m) = m A                              P = M, as in LLaVA (Liu et al. 2023a, equation 1)
    mlp         f(m) = GELU(m A) B                      P = M, as in LLaVA-1.5 (Liu et al. 2023b, section 3.2)
    resampler   f(m) = z B, z read from m               P fixed, as in Flamingo (Alayrac et al. 2022, section 3.1)

The outer norm's gain begins as the scale of the word vectors that the prefix stands among.  Letters: P positions of
the prefix, W the language model's width.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.errors import ConfigError
from sensorium.core.types import Encoded
from sensorium.language.emission import pack_left


class Prefix(Section):
    """How a memory becomes a prefix."""

    projector: Literal["linear", "mlp", "resampler"] = "mlp"
    tokens: int = Field(8, ge=1, le=4096)
    """Positions that a resampler makes, whatever the memory's length."""
    layers: int = Field(2, ge=1, le=64)
    """How many times a resampler reads."""
    heads: int = Field(4, ge=1, le=128)
    """A resampler's."""


class PrefixProjector(nn.Module):
    """Bring a memory to the word vectors of a language model.

    Args:
        config: the kind of projector, and its sizes.
        memory_width: D.
        width: W.
        scale: the standard deviation of the vectors at the start; None leaves them about 1.

    Raises:
        ConfigError: a resampler's heads do not divide D.
    """

    def __init__(self, config: Prefix, memory_width: int, width: int, scale: float | None = None) -> None:
        super().__init__()
        self.width = width
        self.norm = nn.LayerNorm(memory_width)
        self.resampler: Resampler | None = None
        if config.projector == "resampler":
            self.resampler = Resampler(memory_width, config.tokens, config.layers, config.heads)
        hidden = (nn.Linear(memory_width, width), nn.GELU()) if config.projector == "mlp" else ()
        self.project = nn.Sequential(*hidden, nn.Linear(width if hidden else memory_width, width))
        self.out_norm = nn.LayerNorm(width)
        self.rescale(1.0 if scale is None else scale)

    def rescale(self, scale: float) -> None:
        """Let what comes out begin with another standard deviation: that of published word vectors."""
        nn.init.constant_(self.out_norm.weight, scale)

    def forward(self, memory: Encoded) -> tuple[Tensor, Tensor]:
        """Return vectors (B, P, W), zero at padding, and their mask (B, P); a row without memory has no prefix."""
        num_rows, length = memory.mask_BT.shape
        if length == 0:
            return memory.x_BTD.new_zeros(num_rows, 0, self.width), memory.mask_BT
        x_BMD = self.norm(torch.where(memory.mask_BT[..., None], memory.x_BTD, 0))
        x_BPD, mask_BP = (
            (x_BMD, memory.mask_BT) if self.resampler is None else self.resampler(x_BMD, memory.mask_BT)
        )
        x_BPW = self.out_norm(self.project(x_BPD))
        return pack_left(torch.where(mask_BP[..., None], x_BPW, 0), mask_BP)


class Resampler(nn.Module):
    """Let learned vectors read from a memory of any length, a few times over.

        z = z + attention(LN(z), [m; LN(z)]),   z = z + MLP(LN(z))

    Args:
        width: D.
        tokens: P.
        layers: how many times.
        heads: of the attention.

    Raises:
        ConfigError: `heads` does not divide `width`.
    """

    def __init__(self, width: int, tokens: int, layers: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"a width of {width} is not a multiple of {heads} heads", advice="change 'heads'")
        self.token_PD = nn.Parameter(torch.randn(tokens, width))
        self.layers = nn.ModuleList(ReadingLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x_BMD: Tensor, mask_BM: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, P, D) and its mask: all real, or none where the row has no memory."""
        z_BPD = self.token_PD.to(x_BMD.dtype).expand(len(x_BMD), -1, -1)
        mask_BS = F.pad(mask_BM, (0, z_BPD.shape[1]), value=True)
        for layer in self.layers:
            z_BPD = layer(z_BPD, x_BMD, mask_BS)
        mask_BP: Tensor = mask_BM.any(1, keepdim=True).expand(z_BPD.shape[:2])
        return self.norm(z_BPD), mask_BP


class ReadingLayer(nn.Module):
    """Attend to a memory and to each other, then an MLP; both are added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_query = nn.LayerNorm(width)
        self.to_query = nn.Linear(width, width)
        self.to_key_value = nn.Linear(width, 2 * width)
        self.to_out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, z_BPD: Tensor, x_BMD: Tensor, mask_BS: Tensor) -> Tensor:
        """Return (B, P, D); `mask_BS` covers the memory, then z itself."""
        query_BPD = self.norm_query(z_BPD)
        key_BSD, value_BSD = self.to_key_value(torch.cat([x_BMD, query_BPD], 1)).chunk(2, -1)
        q_BHPK, k_BHSK, v_BHSK = map(self._by_head, (self.to_query(query_BPD), key_BSD, value_BSD))
        y_BHPK = F.scaled_dot_product_attention(q_BHPK, k_BHSK, v_BHSK, mask_BS[:, None, None])
        z_BPD = z_BPD + self.to_out(y_BHPK.transpose(1, 2).flatten(2))
        out_BPD: Tensor = z_BPD + self.mlp(z_BPD)
        return out_BPD

    def _by_head(self, x_BTD: Tensor) -> Tensor:
        num, length, width = x_BTD.shape
        return x_BTD.reshape(num, length, self.heads, width // self.heads).transpose(1, 2)
