"""Parts that talk through a few tokens alone: what they share has to fit through a bottleneck.

    [x_k ; b_k] = TRM_kl([x_k ; b])       each part k with its own layer l of a Transformer
    b = mean over present k of b_k        repeated `layers` times
    memory = LN([x_1; ...; x_K; b])       or LN(b) alone

Attention bottlenecks (Nagrani et al. 2021, equations 6-8); the layers before fusion of the paper are the encoders'
own.  The cost grows with the square of each part's length, not of all together.  Absent parts have no say in b.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.attention import beside_residual
from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.attention import AttentionConfig
from sensorium.fusion.parts import by_part, conditioning, heard, kinds, ordered


class Bottleneck(nn.Module):
    """Run a Transformer over each part, and let them exchange a few tokens after every layer.

    Args:
        config: sizes, and what the memory holds.
        names: the inputs.
        width: D, a multiple of the heads.

    Raises:
        ConfigError: `heads` does not divide `width`.
    """

    ignores_absent = True

    class Config(AttentionConfig):
        """Options of `bottleneck`."""

        tokens: int = Field(4, ge=1, le=1024)
        memory: Literal["all", "tokens"] = "all"
        """What the scorer sees: all positions and the tokens, or the tokens alone."""

    def __init__(self, config: Config, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = width
        self.sees_all = config.memory == "all"
        self.kind_KD = kinds(len(self.names), width)
        self.token_ND = nn.Parameter(torch.randn(config.tokens, width) * 0.02)
        self.layers: Any = nn.ModuleList(config.blocks(width, len(self.names)) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse: (B, sum of T + tokens, D), or (B, tokens, D).  Raises ModelError on a missing part."""
        chosen = ordered(parts, self.names)
        heard_BK = heard(chosen)
        x, token_BND, mask = self._begin(chosen)
        for layer in self.layers:
            x, token_BND = _apart(_layer(layer, _together(x, token_BND), mask), token_BND.shape[1], heard_BK)
        if not self.sees_all:
            return conditioning(self.norm(token_BND), None, parts)
        mask_BM = _seen(chosen, heard_BK, token_BND.shape[1])
        x_BMD = self.norm(torch.cat([*x, token_BND], dim=1))
        return conditioning(torch.where(mask_BM[..., None], x_BMD, 0), mask_BM, parts)

    def reading(self, parts: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Return what each position was read from, (B, M, T) by part: the roll-out of all layers.

        The tokens' readings are averaged over the parts as the tokens are, and none where they are as learned.
        """
        chosen = ordered(parts, self.names)
        heard_BK = heard(chosen)
        x, token_BND, mask = self._begin(chosen)
        own_BMM = torch.diag_embed(torch.cat([part.mask_BT for part in chosen], dim=1).float())
        read = list(torch.split(own_BMM, [part.mask_BT.shape[1] for part in chosen], dim=1))
        num_tokens = token_BND.shape[1]
        token_read_BNM = own_BMM.new_zeros(len(own_BMM), num_tokens, own_BMM.shape[2])
        for layer in self.layers:
            states = _together(x, token_BND)
            weights = [
                beside_residual(block.weights_within(state_BSD, mask_BS))
                for block, state_BSD, mask_BS in zip(layer, states, mask, strict=True)
            ]
            each = [w_BSS @ r_BSM for w_BSS, r_BSM in zip(weights, _together(read, token_read_BNM), strict=True)]
            read, token_read_BNM = _apart(each, num_tokens, heard_BK)
            x, token_BND = _apart(_layer(layer, states, mask), num_tokens, heard_BK)
        if not self.sees_all:
            return by_part(token_read_BNM, self.names, chosen)
        mask_BM = _seen(chosen, heard_BK, num_tokens)
        return by_part(torch.cat([*read, token_read_BNM], dim=1) * mask_BM[..., None], self.names, chosen)

    def _begin(self, chosen: Sequence[Encoded]) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """Return each part's positions (B, T, D), the learned tokens (B, N, D), and each part's mask with them."""
        x = [
            torch.where(part.mask_BT[..., None], part.x_BTD + kind_D, 0)
            for part, kind_D in zip(chosen, self.kind_KD, strict=True)
        ]
        token_BND = self.token_ND.to(x[0].dtype).expand(len(x[0]), -1, -1)
        return x, token_BND, [functional.pad(part.mask_BT, (0, token_BND.shape[1]), value=True) for part in chosen]


def _together(x: Sequence[Tensor], token_BND: Tensor) -> list[Tensor]:
    """Put the tokens behind each part's positions."""
    return [torch.cat([x_BTD, token_BND], dim=1) for x_BTD in x]


def _layer(layer: Any, states: Sequence[Tensor], mask: Sequence[Tensor]) -> list[Tensor]:
    return [block.within(state_BSD, mask_BS) for block, state_BSD, mask_BS in zip(layer, states, mask, strict=True)]


def _apart(states: Sequence[Tensor], num_tokens: int, heard_BK: Tensor) -> tuple[list[Tensor], Tensor]:
    """Take positions and tokens apart; each part's version of the tokens is averaged over those that are heard."""
    tokens = _mean([state_BSD[:, -num_tokens:] for state_BSD in states], heard_BK)
    return [state_BSD[:, :-num_tokens] for state_BSD in states], tokens


def _seen(chosen: Sequence[Encoded], heard_BK: Tensor, num_tokens: int) -> Tensor:
    seen = [part.mask_BT & heard_BK[:, k, None] for k, part in enumerate(chosen)]
    return functional.pad(torch.cat(seen, dim=1), (0, num_tokens), value=True)


def _mean(tokens: Sequence[Tensor], heard_BK: Tensor) -> Tensor:
    """Average each part's version of the tokens over the parts that are heard: (B, N, D)."""
    token_BKND = torch.stack(list(tokens), dim=1)
    weight_BK = heard_BK.to(token_BKND.dtype)
    return torch.einsum("bknd,bk->bnd", token_BKND, weight_BK / weight_BK.sum(1, keepdim=True))
