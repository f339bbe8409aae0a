"""The sum of the parts, the simplest fusion there is and often hard to beat (Liang et al. 2021, MultiBench).

    memory = LayerNorm(sum_k pool(x_k))

Every part counts, an absent one by its learned absent token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.parts import conditioning, ordered
from sensorium.fusion.pooling import PoolEach, Pooling


class Sum(nn.Module):
    """Pool each part and add.

    Args:
        config: how to pool.
        names: the inputs.
        width: D.
    """

    class Config(Pooling):
        """Options of `sum`."""

    def __init__(self, config: Config, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = width
        self.pool = PoolEach(config, len(self.names), width)
        self.norm = nn.LayerNorm(width)

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse: (B, 1, D).  Raises ModelError on a missing part."""
        total_B1D = self.pool(ordered(parts, self.names)).sum(1, keepdim=True)
        return conditioning(self.norm(total_B1D), None, parts)

    def reading(self, parts: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Return what the position was read from, (B, 1, T) by part; every part counts alike."""
        read = self.pool.reading(ordered(parts, self.names))
        return {name: read_BT[:, None] / len(read) for name, read_BT in zip(self.names, read, strict=True)}
