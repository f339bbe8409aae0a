"""k-means: a codebook of typical vectors, and the nearest code of each vector.

Enters: vectors (N, F).  Leaves: `Codebook`, and codes (N,).  Features are first brought to mean 0 and
deviation 1.  Starting points: k-means++ (Arthur and Vassilvitskii 2007); then Lloyd's iterations (1982).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.core.errors import DataError

_CHUNK = 8192
_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True)
class Codebook:
    """Codes and the scale they live at.

    Attributes:
        mean_F, deviation_F: (F,) of the vectors it was fitted on.
        code_CF: (C, F) codes, in scaled units.
    """

    mean_F: Tensor
    deviation_F: Tensor
    code_CF: Tensor

    @classmethod
    def fitted(cls, x_NF: Tensor, num_codes: int, *, iterations: int = 25, seed: int = 0) -> Codebook:
        """Fit by k-means; fewer codes where there are fewer different vectors.

        Raises:
            DataError: no vector.
        """
        if not len(x_NF):
            raise DataError("there is nothing to fit a codebook on")
        mean_F, deviation_F = x_NF.mean(0), x_NF.std(0, correction=0).clamp_min(_LEAST_DEVIATION)
        scaled_NF = (x_NF - mean_F) / deviation_F
        code_CF = starting_points(scaled_NF, num_codes, torch.Generator().manual_seed(seed))
        for _ in range(iterations):
            code_N, _ = nearest(scaled_NF, code_CF)
            num_C = torch.bincount(code_N, minlength=len(code_CF))
            sum_CF = torch.zeros_like(code_CF).index_add_(0, code_N, scaled_NF)
            moved_CF = torch.where(num_C[:, None] > 0, sum_CF / num_C[:, None].clamp_min(1), code_CF)
            if torch.equal(moved_CF, code_CF):
                break
            code_CF = moved_CF
        return cls(mean_F, deviation_F, code_CF)

    def encode(self, x_NF: Tensor) -> Tensor:
        """Return the nearest code of each vector, (N,) int64."""
        return nearest((x_NF - self.mean_F) / self.deviation_F, self.code_CF)[0]


def nearest(x_NF: Tensor, code_CF: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest code of each vector, (N,), and its squared distance, (N,)."""
    square_C = code_CF.square().sum(1)
    found = [(square_C - 2 * chunk_NF @ code_CF.T).min(1) for chunk_NF in torch.split(x_NF, _CHUNK)]
    distance_N = torch.cat([least.values for least in found]) + x_NF.square().sum(1)
    return torch.cat([least.indices for least in found]), distance_N.clamp_min(0)


def starting_points(x_NF: Tensor, num_codes: int, generator: torch.Generator) -> Tensor:
    """Draw vectors one by one, each with a chance as its squared distance from those drawn before."""
    first = int(torch.randint(len(x_NF), (1,), generator=generator))
    chosen = [x_NF[first]]
    distance_N = (x_NF - chosen[0]).square().sum(1)
    while len(chosen) < num_codes and float(distance_N.max()) > _LEAST_DEVIATION:
        chosen.append(x_NF[_draw(distance_N, generator)])
        distance_N = torch.minimum(distance_N, (x_NF - chosen[-1]).square().sum(1))
    return torch.stack(chosen)


def _draw(weight_N: Tensor, generator: torch.Generator) -> int:
    """Draw an index with a chance as its weight (torch.multinomial takes no more than 2^24 weights)."""
    total_N = weight_N.double().cumsum(0)
    point = torch.rand(1, generator=generator, dtype=torch.float64) * total_N[-1]
    return min(int(torch.searchsorted(total_N, point)), len(weight_N) - 1)
