"""One vector a part, then a multilayer perceptron over them: the classic visual question answering baseline.

    p_k = pool(x_k)                     u_k = tanh(U_k p_k), 0 where part k is absent
    memory = LayerNorm(W_2 relu(W_1 z + b_1) + b_2), read as `positions` positions

with z by `interaction`:

    concat    [p_1; ...; p_K]                              (Zhou et al. 2015, iBOWIMG)
    product   sum_k u_k + sum_{j<k} u_j * u_k, elementwise  (Antol et al. 2015 and Kim et al. 2017, MLB, for K = 2;
              a factorization machine of order two, Rendle 2010, for any number of parts present)
    both      [concat; product]

The sum over pairs takes linear time: ((sum u)² - sum u²) / 2 (Rendle 2010, lemma 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.parts import conditioning, heard, ordered, presence
from sensorium.fusion.pooling import PoolEach, Pooling


class MLP(nn.Module):
    """Pool each part, let them interact, and map to a few positions.

    Args:
        config: sizes.
        names: the inputs.
        width: D.
    """

    class Config(Pooling):
        """Options of `mlp`."""

        interaction: Literal["concat", "product", "both"] = "both"
        hidden: int = Field(256, ge=1, le=65_536)
        positions: int = Field(1, ge=1, le=1024)
        dropout: float = Field(0.0, ge=0.0, lt=1.0)

    def __init__(self, config: Config, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = width
        self.positions = config.positions
        self.interaction = config.interaction
        self.ignores_absent = config.interaction == "product"
        num_parts = len(self.names)
        self.pool = PoolEach(config, num_parts, width)
        self.product = None if config.interaction == "concat" else Product(num_parts, width, config.hidden)
        width_in = {
            "concat": num_parts * width,
            "product": config.hidden,
            "both": num_parts * width + config.hidden,
        }
        self.mlp = nn.Sequential(
            nn.Linear(width_in[config.interaction], config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.positions * width),
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse: (B, positions, D).  Raises ModelError on a missing part."""
        chosen = ordered(parts, self.names)
        pooled_BKD = self.pool(chosen)
        terms = [] if self.interaction == "product" else [pooled_BKD.flatten(1)]
        if self.product is not None:
            terms.append(self.product(pooled_BKD, presence(chosen)))
        x_BMD = self.mlp(torch.cat(terms, dim=1)).unflatten(1, (self.positions, self.width))
        return conditioning(self.norm(x_BMD), None, parts)

    def reading(self, parts: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Return what each position was read from, (B, positions, T) by part; every part counts alike.

        An absent part counts where its absent token is read.
        """
        chosen = ordered(parts, self.names)
        counted_BK = heard(chosen) if self.ignores_absent else torch.ones_like(presence(chosen))
        return dict(zip(self.names, self.pool.shared(chosen, counted_BK, self.positions), strict=True))


class Product(nn.Module):
    """sum_k u_k + sum_{j<k} u_j * u_k with u_k = tanh(U_k p_k + c_k), over the parts that are present.

    Args:
        num_parts: K.
        width: D.
        hidden: H, the width of u.
    """

    def __init__(self, num_parts: int, width: int, hidden: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(width, hidden) for _ in range(num_parts))

    def forward(self, pooled_BKD: Tensor, present_BK: Tensor) -> Tensor:
        """Return (B, H)."""
        u = [project(pooled_BKD[:, k]) for k, project in enumerate(self.projections)]
        u_BKH = torch.where(present_BK[..., None], torch.stack(u, dim=1).tanh(), 0)
        total_BH = u_BKH.sum(1)
        return total_BH + (total_BH.square() - u_BKH.square().sum(1)) / 2
