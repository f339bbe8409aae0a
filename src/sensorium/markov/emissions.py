"""What states emit: ids, Gaussian vectors, or vectors of Gaussian mixtures.

Enters: observations.  Leaves: log p(x | state), and re-estimated emissions (Rabiner 1989, section IV).

Letters beside the shared ones: N frames, S states, K Gaussians of a state, F features, V ids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from sensorium.markov.model import Statistics
from sensorium.markov.recursion import summed_products

_FEW = 1e-8  # expected frames below which a state, or a Gaussian of it, has nothing to learn from


@dataclass(frozen=True, slots=True)
class Categorical:
    """States that emit one of V ids.

    Attributes:
        p_SV: (S, V) probabilities; rows sum to 1.  An id of probability 0 in every state is never learned.
        pseudo_count: added to each expected count of a possible id when re-estimating.
    """

    p_SV: Tensor
    pseudo_count: float = 0.0

    @property
    def num_states(self) -> int:
        """Count the states S."""
        return len(self.p_SV)

    def log_p(self, x_N: Tensor) -> Tensor:
        """Return log p(id | state), (N, S), for int64 ids (N,)."""
        return self.p_SV.T.log()[x_N]

    def statistics(self, x_N: Tensor, gamma_NS: Tensor) -> Statistics:
        """Count each id by state: ((V, S),)."""
        return (gamma_NS.new_zeros(self.p_SV.T.shape).index_add_(0, x_N, gamma_NS),)

    def maximised(self, statistics: Statistics) -> Self:
        """Return relative frequencies, with the pseudo-count."""
        count_SV = statistics[0].T + self.pseudo_count * (self.p_SV.amax(0) > 0)
        total_S1 = count_SV.sum(1, keepdim=True)
        return replace(self, p_SV=torch.where(total_S1 > _FEW, count_SV / total_S1.clamp_min(_FEW), self.p_SV))


@dataclass(frozen=True, slots=True)
class Gaussians:
    """States that emit vectors of independent normal features.

    Attributes:
        mean_SF: (S, F).
        variance_SF: (S, F).
        floor: least variance; a number, or (F,).
    """

    mean_SF: Tensor
    variance_SF: Tensor
    floor: float | Tensor = 1e-3

    @property
    def num_states(self) -> int:
        """Count the states S."""
        return len(self.mean_SF)

    def log_p(self, x_NF: Tensor) -> Tensor:
        """Return log N(x; mean, variance), (N, S)."""
        return _log_normal(x_NF, self.mean_SF, self.variance_SF)

    def statistics(self, x_NF: Tensor, gamma_NS: Tensor) -> Statistics:
        """Sum (S,) frames, (S, F) vectors and (S, F) squares, by state."""
        return _sums(x_NF, gamma_NS)

    def maximised(self, statistics: Statistics) -> Self:
        """Return mean and variance of each state's frames."""
        mean_SF, variance_SF = _moments(statistics, self.mean_SF, self.variance_SF, self.floor)
        return replace(self, mean_SF=mean_SF, variance_SF=variance_SF)


@dataclass(frozen=True, slots=True)
class GaussianMixtures:
    """States that emit vectors of a mixture of K Gaussians each.

    Attributes:
        weight_SK: (S, K) shares; rows sum to 1.
        mean_SKF: (S, K, F).
        variance_SKF: (S, K, F).
        floor: least variance; a number, or (F,).
    """

    weight_SK: Tensor
    mean_SKF: Tensor
    variance_SKF: Tensor
    floor: float | Tensor = 1e-3

    @property
    def num_states(self) -> int:
        """Count the states S."""
        return len(self.weight_SK)

    @classmethod
    def of(cls, gaussians: Gaussians) -> GaussianMixtures:
        """Return the same emissions as mixtures of one Gaussian."""
        one_SK = torch.ones_like(gaussians.mean_SF[:, :1])
        return cls(one_SK, gaussians.mean_SF[:, None], gaussians.variance_SF[:, None], gaussians.floor)

    def split(self, distance: float = 0.2) -> GaussianMixtures:
        """Return twice as many Gaussians, each moved `distance` deviations up and down (Young et al., HTK)."""
        step_SKF = distance * self.variance_SKF.sqrt()
        return GaussianMixtures(
            torch.cat([self.weight_SK, self.weight_SK], 1) / 2,
            torch.cat([self.mean_SKF - step_SKF, self.mean_SKF + step_SKF], 1),
            torch.cat([self.variance_SKF, self.variance_SKF], 1),
            self.floor,
        )

    def log_p(self, x_NF: Tensor) -> Tensor:
        """Return log sum_k weight_k N(x; mean_k, variance_k), (N, S)."""
        return self._joint(x_NF).logsumexp(2)

    def statistics(self, x_NF: Tensor, gamma_NS: Tensor) -> Statistics:
        """Sum (S K,) frames, (S K, F) vectors and (S K, F) squares, by Gaussian."""
        share_NSK = self._joint(x_NF).softmax(2).mul_(gamma_NS[..., None])
        return _sums(x_NF, share_NSK.flatten(1))

    def maximised(self, statistics: Statistics) -> Self:
        """Return share, mean and variance of each Gaussian's frames."""
        shape = self.mean_SKF.shape
        old = self.mean_SKF.flatten(0, 1), self.variance_SKF.flatten(0, 1)
        mean_XF, variance_XF = _moments(statistics, *old, self.floor)
        count_SK = statistics[0].view(shape[:2])
        total_S1 = count_SK.sum(1, keepdim=True)
        weight_SK = torch.where(total_S1 > _FEW, count_SK / total_S1.clamp_min(_FEW), self.weight_SK)
        return replace(
            self, weight_SK=weight_SK, mean_SKF=mean_XF.view(shape), variance_SKF=variance_XF.view(shape)
        )

    def _joint(self, x_NF: Tensor) -> Tensor:
        log_p_NX = _log_normal(x_NF, self.mean_SKF.flatten(0, 1), self.variance_SKF.flatten(0, 1))
        return log_p_NX.view(-1, *self.weight_SK.shape) + self.weight_SK.log()


def _log_normal(x_NF: Tensor, mean_XF: Tensor, variance_XF: Tensor) -> Tensor:
    """Return log N (N, X): the square (x - m)^2 / v multiplied out, so that it is two matrix products."""
    centre_F = mean_XF.mean(0)  # multiplied out about the middle of the means, little is cancelled
    x_NF, mean_XF = x_NF - centre_F, mean_XF - centre_F
    precision_XF = 1 / variance_XF
    constant_X = (mean_XF.square() * precision_XF + variance_XF.log()).sum(1) + x_NF.shape[1] * math.log(
        2 * math.pi
    )
    log_p_NX = torch.addmm(constant_X, x_NF.square(), precision_XF.T, beta=-0.5, alpha=-0.5)
    return log_p_NX.addmm_(x_NF, (mean_XF * precision_XF).T)


def _sums(x_NF: Tensor, share_NX: Tensor) -> Statistics:
    """Sum (X,) shares, (X, F) vectors and (X, F) squares."""
    sum_XF, square_XF = summed_products(share_NX, torch.cat([x_NF, x_NF.square()], 1)).chunk(2, 1)
    return share_NX.sum(0), sum_XF, square_XF


def _moments(
    statistics: Statistics, mean_XF: Tensor, variance_XF: Tensor, floor: float | Tensor
) -> tuple[Tensor, Tensor]:
    count_X, sum_XF, square_XF = statistics
    seen_X1 = count_X[:, None] > _FEW
    count_X1 = count_X[:, None].clamp_min(_FEW)
    new_XF = sum_XF / count_X1
    spread_XF = torch.maximum(square_XF / count_X1 - new_XF.square(), torch.as_tensor(floor, dtype=new_XF.dtype))
    return torch.where(seen_X1, new_XF, mean_XF), torch.where(seen_X1, spread_XF, variance_XF)
