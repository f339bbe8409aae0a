"""Parts that turn each other's features up and down.

    [gamma_k; beta_k] = V tanh(sum over present j != k of U_j pool(x_j))
    x_k = x_k + W_2 relu((1 + gamma_k) * W_1 LN(x_k) + beta_k)      repeated `layers` times
    memory = LN([x_1; ...; x_K])

Feature-wise linear modulation (Perez et al. 2018, equations 1-2; gamma as a difference from 1, section 7.2) in
residual blocks.  With `modulated` the name of a part, it alone is modulated, by all others, and it alone is the
memory, as a question modulates a photo there.  Nothing has a bias in gamma and beta: where no other part is
present, x_k is mapped as if alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.errors import ConfigError, UsageError
from sensorium.core.names import nearest
from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.parts import conditioning, heard, ordered, presence
from sensorium.fusion.pooling import PoolEach, Pooling


class Film(nn.Module):
    """Modulate the positions of each part, or of one, by summaries of the others.

    Args:
        config: sizes, and which part is modulated.
        names: the inputs.
        width: D.

    Raises:
        ConfigError: `modulated` names no input.
    """

    class Config(Pooling):
        """Options of `film`."""

        names_part: ClassVar[str] = "modulated"

        modulated: str | None = None
        """The part that is modulated and becomes the memory; None: each, by all others."""
        layers: int = Field(2, ge=1, le=64)
        hidden: int = Field(128, ge=1, le=65_536)
        """Units between the summaries and gamma and beta."""
        dropout: float = Field(0.0, ge=0.0, lt=1.0)

    def __init__(self, config: Config, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = width
        if config.modulated is not None and config.modulated not in self.names:
            advice = nearest(config.modulated, list(names))
            raise ConfigError(f"'modulated' names no input '{config.modulated}'", advice=advice)
        self.ignores_absent = config.modulated is None
        self.targets = [k for k, name in enumerate(self.names) if config.modulated in (None, name)]
        sources = len(self.names) - 1
        # A part that modulates nobody, because it alone is modulated, needs no pooling.
        lone = config.modulated is not None or not sources
        self.pooled = [k for k in range(len(self.names)) if not (lone and k in self.targets)]
        self.pool = PoolEach(config, len(self.pooled), width)
        self.kind_KD = nn.Parameter(torch.randn(len(self.targets), width) * 0.02)
        self.streams: Any = nn.ModuleList(
            nn.ModuleList(FilmBlock(width, sources, config.hidden, config.dropout) for _ in range(config.layers))
            for _ in self.targets
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse: (B, sum of T, D), or T of the one modulated.  Raises ModelError on a missing part."""
        chosen = ordered(parts, self.names)
        summary = {k: pool(chosen[k]) for k, pool in zip(self.pooled, self.pool.poolings, strict=True)}
        present_BK, heard_BK = presence(chosen), heard(chosen)
        x, mask = [], []
        for stream, kind_D, k in zip(self.streams, self.kind_KD, self.targets, strict=True):
            others = [j for j in self.pooled if j != k]
            x_BTD = torch.where(chosen[k].mask_BT[..., None], chosen[k].x_BTD + kind_D, 0)
            for block in stream:
                x_BTD = block(x_BTD, [summary[j] for j in others], present_BK[:, others])
            x.append(x_BTD)
            mask.append(chosen[k].mask_BT & heard_BK[:, k, None] if self.ignores_absent else chosen[k].mask_BT)
        mask_BM = torch.cat(mask, dim=1)
        x_BMD = torch.where(mask_BM[..., None], self.norm(torch.cat(x, dim=1)), 0)
        return conditioning(x_BMD, mask_BM, parts)

    def reading(self, parts: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Raise UsageError: a part that is scaled and shifted by others is no average of their positions."""
        raise UsageError(
            "'film' scales and shifts one input's features by the others', which is no reading of positions",
            advice="take the maps occlusion or integrated_gradients",
        )


class FilmBlock(nn.Module):
    """x + W_2 relu(modulated W_1 LN(x)).

    Args:
        width: D.
        num_sources: how many summaries modulate; without any, nothing does.
        hidden: units between summaries and modulation.
        dropout: chance that a value of the branch is dropped.
    """

    def __init__(self, width: int, num_sources: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.modulation = Modulation(width, num_sources, hidden) if num_sources else None
        self.second = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.Dropout(dropout))

    def forward(self, x_BTD: Tensor, summaries: Sequence[Tensor], present_BJ: Tensor) -> Tensor:
        """Return (B, T, D)."""
        branch_BTD = self.first(x_BTD)
        if self.modulation is not None:
            branch_BTD = self.modulation(branch_BTD, summaries, present_BJ)
        out_BTD: Tensor = x_BTD + self.second(branch_BTD)
        return out_BTD


class Modulation(nn.Module):
    """x (1 + gamma) + beta, [gamma; beta] = V tanh(sum over present j of U_j s_j); none present leaves x as it is.

    Args:
        width: D.
        num_sources: J.
        hidden: units of the tanh.
    """

    def __init__(self, width: int, num_sources: int, hidden: int) -> None:
        super().__init__()
        self.sources = nn.ModuleList(nn.Linear(width, hidden, bias=False) for _ in range(num_sources))
        self.to_gamma_beta = nn.Linear(hidden, 2 * width, bias=False)

    def forward(self, x_BTD: Tensor, summaries: Sequence[Tensor], present_BJ: Tensor) -> Tensor:
        """Return (B, T, D).

        Args:
            summaries: J vectors a row, (B, D) each.
            present_BJ: which of them a row has.
        """
        heard = [source(s_BD) for source, s_BD in zip(self.sources, summaries, strict=True)]
        heard_BJH = torch.where(present_BJ[..., None], torch.stack(heard, dim=1), 0)
        gamma_BD, beta_BD = self.to_gamma_beta(heard_BJH.sum(1).tanh()).chunk(2, dim=-1)
        out_BTD: Tensor = x_BTD * (1 + gamma_BD[:, None]) + beta_BD[:, None]
        return out_BTD
