"""Positions that read from other positions: one part attends to the rest, or learned queries attend to all.

    x = x + attention(LN(x), LN(keys))       attention = softmax(Q K' / sqrt(d)) V, padding masked
    x = x + MLP(LN(x))                       repeated `layers` times (Vaswani et al. 2017, section 3.2)

With `query` the name of a part, its positions (+ e_query) are the first x, and the keys are all other parts': the
co-attention of Lu et al. 2019 (ViLBERT), one side of it (`co_attention` has all).  Without, x is `num_queries`
learned vectors, and the keys are all parts': a memory of fixed length, whatever comes in (`perceiver` lets the
queries see each other, too).  An absent part takes part as its absent token, as keys and as query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.errors import ConfigError
from sensorium.core.names import nearest
from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.attention import AttentionConfig
from sensorium.fusion.parts import conditioning, kinds, ordered


class CrossAttention(nn.Module):
    """Fuse by attention from queries to the positions of the parts.

    Args:
        config: sizes, and which part asks.
        names: the inputs.
        width: D, a multiple of the heads.

    Raises:
        ConfigError: `query` names no input, or `heads` does not divide `width`.
    """

    class Config(AttentionConfig):
        """Options of `cross_attention`."""

        names_part: ClassVar[str] = "query"

        query: str | None = None
        """The part whose positions ask; None for learned queries."""
        num_queries: int = Field(8, ge=1, le=4096)

    def __init__(self, config: Config, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = width
        self.query = config.query
        if config.query is not None and config.query not in self.names:
            raise ConfigError(f"'query' names no input '{config.query}'", advice=nearest(config.query, list(names)))
        self.kind_KD = kinds(len(self.names), width)
        self.query_MD = nn.Parameter(torch.randn(config.num_queries, width)) if config.query is None else None
        self.norm_keys = nn.LayerNorm(width)
        self.blocks = config.blocks(width, config.layers)
        self.norm = nn.LayerNorm(width)

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse: (B, T of the query or num_queries, D).  Raises ModelError on a missing part."""
        x_BMD, mask_BM, key_BSD, mask_BS, _ = self._sides(parts)
        for block in self.blocks:
            x_BMD = block(x_BMD, key_BSD, mask_BS)
        x_BMD = self.norm(x_BMD)
        if mask_BM is not None:
            x_BMD = torch.where(mask_BM[..., None], x_BMD, 0)
        return conditioning(x_BMD, mask_BM, parts)

    def reading(self, parts: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Return what each position was read from, (B, M, T) by part: a layer reads half itself, half its keys."""
        block: Any  # a CrossAttentionBlock
        x_BMD, _, key_BSD, mask_BS, sources = self._sides(parts)
        own_BMM = torch.eye(x_BMD.shape[1], device=x_BMD.device).expand(len(x_BMD), -1, -1)
        from_keys_BMS = key_BSD.new_zeros(*x_BMD.shape[:2], key_BSD.shape[1])
        for block in self.blocks:
            from_keys_BMS = (from_keys_BMS + block.weights(x_BMD, key_BSD, mask_BS).mean(1)) / 2
            own_BMM = own_BMM / 2
            x_BMD = block(x_BMD, key_BSD, mask_BS)
        lengths = [parts[name].mask_BT.shape[1] for name in sources]
        read = dict(zip(sources, torch.split(from_keys_BMS, lengths, dim=2), strict=True))
        if self.query is not None:
            read[self.query] = own_BMM + read.get(self.query, 0)
        return read

    def _sides(self, parts: Mapping[str, Encoded]) -> tuple[Tensor, Tensor | None, Tensor, Tensor, list[str]]:
        """Return who asks (B, M, D), its mask, who is asked (B, S, D), its mask, and whose positions those are."""
        chosen = ordered(parts, self.names)
        x_by_name = {
            name: part.x_BTD + kind_D for name, part, kind_D in zip(self.names, chosen, self.kind_KD, strict=True)
        }
        # A lone part has nobody else to ask: it asks itself.
        sources = [name for name in self.names if name != self.query] or list(self.names)
        key_BSD = torch.cat([x_by_name[name] for name in sources], dim=1)
        mask_BS = torch.cat([parts[name].mask_BT for name in sources], dim=1)
        key_BSD = self.norm_keys(torch.where(mask_BS[..., None], key_BSD, 0))
        if self.query_MD is None:
            x_BMD, mask_BM = x_by_name[str(self.query)], parts[str(self.query)].mask_BT
        else:
            x_BMD, mask_BM = self.query_MD.to(key_BSD.dtype).expand(len(key_BSD), -1, -1), None
        return x_BMD, mask_BM, key_BSD, mask_BS, sources
