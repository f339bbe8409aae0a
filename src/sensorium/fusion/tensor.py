"""The outer product of all parts: every product of one value of each part, and of each subset of the parts.

    u_k = tanh(U_k pool(x_k)), 0 where part k is absent          z_k = [u_k; 1]
    z = z_1 (x) z_2 (x) ... (x) z_K                              (f + 1)^K terms
    memory = LayerNorm(W_2 relu(W_1 z + b_1) + b_2), read as `positions` positions

Tensor fusion (Zadeh et al. 2017, equations 2-4).  The appended 1 keeps the products of fewer parts beside those of
all; so an absent part leaves exactly the tensor of the others, and zeros.  The terms grow with the power of K:
parts are projected to `factor` values before, and what `max_terms` does not allow is refused.  `low_rank` has no
such limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.errors import ConfigError
from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.parts import conditioning, heard, ordered, presence
from sensorium.fusion.pooling import PoolEach, Pooling

FACTOR_MAX = 32
"""What `factor` is where nothing is said and the terms allow it."""


class TensorFusion(nn.Module):
    """Pool and project each part, multiply all with all, and map to a few positions.

    Args:
        config: sizes.
        names: the inputs.
        width: D.

    Raises:
        ConfigError: (factor + 1)^K is more than `max_terms`.
    """

    ignores_absent = True

    class Config(Pooling):
        """Options of `tensor`."""

        factor: int | None = Field(None, ge=1, le=4096)
        """Values a part is projected to; None: as many, up to 32, as `max_terms` allows."""
        max_terms: int = Field(8192, ge=2, le=16_777_216)
        """The most terms of the outer product, (factor + 1) to the power of the number of inputs."""
        hidden: int = Field(128, ge=1, le=65_536)
        positions: int = Field(1, ge=1, le=1024)
        dropout: float = Field(0.0, ge=0.0, lt=1.0)

    def __init__(self, config: Config, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = width
        self.positions = config.positions
        factor = choose_factor(config.factor, config.max_terms, len(self.names))
        self.pool = PoolEach(config, len(self.names), width)
        self.projections = nn.ModuleList(nn.Linear(width, factor) for _ in self.names)
        self.mlp = nn.Sequential(
            nn.Linear((factor + 1) ** len(self.names), config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.positions * width),
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse: (B, positions, D).  Raises ModelError on a missing part."""
        chosen = ordered(parts, self.names)
        pooled_BKD = self.pool(chosen)
        u = [project(pooled_BKD[:, k]).tanh() for k, project in enumerate(self.projections)]
        u_BKF = torch.where(presence(chosen)[..., None], torch.stack(u, dim=1), 0)
        x_BMD = self.mlp(outer_product(u_BKF)).unflatten(1, (self.positions, self.width))
        return conditioning(self.norm(x_BMD), None, parts)

    def reading(self, parts: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Return what each position was read from, (B, positions, T) by part; those that are heard count alike."""
        chosen = ordered(parts, self.names)
        return dict(zip(self.names, self.pool.shared(chosen, heard(chosen), self.positions), strict=True))


def outer_product(u_BKF: Tensor) -> Tensor:
    """Return the products of one value of each [u_k; 1], (B, (F + 1)^K); the last part runs fastest."""
    first_BG, *rest = functional.pad(u_BKF, (0, 1), value=1.0).unbind(1)
    for z_BG in rest:
        first_BG = (first_BG[:, :, None] * z_BG[:, None]).flatten(1)
    return first_BG


def choose_factor(factor: int | None, max_terms: int, num_parts: int) -> int:
    """Return the values a part may have.  Raises ConfigError: more than `max_terms` terms."""
    largest = 0
    while largest < FACTOR_MAX and (largest + 2) ** num_parts <= max_terms:
        largest += 1
    chosen = largest if factor is None else factor
    if chosen and (chosen + 1) ** num_parts <= max_terms:
        return chosen
    terms = (max(chosen, 1) + 1) ** num_parts
    fits = f"factor = {largest} fits, or" if largest else "use fewer inputs,"
    raise ConfigError(
        f"the outer product of {num_parts} inputs of {max(chosen, 1)} values and a 1 has {terms:,} terms, "
        f"more than max_terms = {max_terms:,}",
        advice=f'{fits} raise max_terms, or choose features = "low_rank"',
    )
