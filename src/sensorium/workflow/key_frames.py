"""Key frames of a clip by coverage and novelty, and the segments that they stand for.

Enters: descriptions of K pictures (K, F), in time.  Leaves: the numbers of a few of them, and where segments begin.

    F(S) = 1/K sum_k max_(j in S) s_kj  +  lambda sum_p sqrt(sum_(j in S and part p) n_j) / Z

    coverage   s_kj = exp(-|x_k - x_j|^2 / 2 m), m the median squared distance: every picture has one that is like it
    novelty    n_j = |x_j - x_(j-1)| over the largest such step: something has just changed.  The root over `parts`
               equal stretches of time pays less for a second picture of one stretch; Z scales the sum for S = all to 1

Both terms are monotone and submodular (facility location, and concave over modular: Lin and Bilmes 2011, "A class of
submodular functions for document summarization", sections 4.1 and 4.2), so is their sum, and the greedy choice is
at least (1 - 1/e) = 63 % of the best one of its size (Nemhauser, Wolsey and Fisher 1978, theorem 4.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Objective:
    """F of the module, of one clip.

    Attributes:
        likeness_KK: (K, K) s, symmetric, 1 on the diagonal.
        novelty_K: (K,) n, 0..1.
        part_K: (K,) int, the stretch of time that each picture lies in.
        weight: lambda.
    """

    likeness_KK: NDArray[np.float64]
    novelty_K: NDArray[np.float64]
    part_K: NDArray[np.int64]
    weight: float

    @classmethod
    def of(cls, x_KF: NDArray[np.float64], *, weight: float = 0.3, parts: int = 8) -> Objective:
        """Describe pictures by their distances."""
        num = len(x_KF)
        square_K = (x_KF**2).sum(1)
        distance_KK = np.maximum(square_K[:, None] + square_K - 2 * x_KF @ x_KF.T, 0)
        middle = float(np.median(distance_KK[~np.eye(num, dtype=bool)])) if num > 1 else 0.0
        likeness_KK = np.exp(-distance_KK / (2 * middle)) if middle > 0 else (distance_KK <= 0).astype(float)
        np.fill_diagonal(likeness_KK, 1.0)
        step_K = np.concatenate([[0.0], np.sqrt(np.diagonal(distance_KK, 1))])
        novelty_K = step_K / step_K.max() if step_K.max() > 0 else step_K
        return cls(likeness_KK, novelty_K, np.arange(num) * parts // num, weight)

    def __call__(self, chosen: list[int]) -> float:
        """Return F of a set of pictures."""
        coverage = self.likeness_KK[:, chosen].max(1).mean() if chosen else 0.0
        return float(coverage) + self.weight * self._reward(chosen) / (self._reward(range(len(self.part_K))) or 1.0)

    def _reward(self, chosen: list[int] | range) -> float:
        numbers = np.array(chosen, np.int64)
        sums = np.bincount(self.part_K[numbers], self.novelty_K[numbers]) if len(numbers) else np.zeros(1)
        return float(np.sqrt(sums).sum())


def greedy(objective: Objective, num: int) -> list[int]:
    """Choose `num` pictures (or all, if there are fewer), each time the one that adds most; ascending.

    Ends early where no picture adds anything.
    """
    chosen: list[int] = []
    value = 0.0
    for _ in range(min(num, len(objective.part_K))):
        left = [k for k in range(len(objective.part_K)) if k not in chosen]
        gains = [objective([*chosen, k]) for k in left]
        best = int(np.argmax(gains))
        if gains[best] - value <= 1e-9:
            break
        chosen.append(left[best])
        value = gains[best]
    return sorted(chosen)


def segment_starts(x_KF: NDArray[np.float64], chosen: list[int]) -> list[int]:
    """Return where each key frame's segment begins: at the largest change between it and the key frame before."""
    step_K = np.concatenate([[0.0], np.linalg.norm(np.diff(x_KF, axis=0), axis=1)])
    later = [a + 1 + int(step_K[a + 1 : b + 1].argmax()) for a, b in zip(chosen, chosen[1:], strict=False)]
    return [0, *later]
