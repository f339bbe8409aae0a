"""Choose among the n best texts anew, by scorers that the search did not ask or asked with other weights.

Enters: the n best texts of each row and what the search ranked them by; scorers; a weight for each.
Leaves: the same texts in a new order.

    score(text) = search's score + sum_k w_k log p_k(text) + bonus * tokens

Weights are tuned on held-out rows by coordinate search for the very metric that judges the task, as in Och 2003,
"Minimum error rate training in statistical machine translation", with a grid in place of its line search; they
begin at 0, where the search's own order stands, and move only where the metric rises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sensorium.core.logspace import NEG_INF
from sensorium.core.protocols import Scorer
from sensorium.core.pytree import select
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS
from sensorium.decoding.generated import Generated
from sensorium.language.pieces import score_in_pieces

LENGTH = "length"
"""The feature that counts tokens; no scorer is called so."""
GRID = (-1.0, -0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
_ROUNDS = 4


@torch.no_grad()
def features(scorers: Mapping[str, Scorer], found: Generated, cond: Conditioning) -> Tensor:
    """Return what is known of each text, (B, K, F): each scorer's log p in order, then the number of tokens."""
    num_rows, num_best, length = found.token_BKT.shape
    row_N = torch.arange(num_rows, device=found.token_BKT.device).repeat_interleave(num_best)
    many, mask_NT = select(cond, row_N), found.mask_BKT.view(-1, length)
    token_NT = torch.nn.functional.pad(found.token_BKT.view(-1, length), (1, 0), value=BOS)
    mask_NT = torch.nn.functional.pad(mask_NT, (1, 0), value=True)
    columns = [score_in_pieces(scorer, token_NT, mask_NT, many).float().sum(1) for scorer in scorers.values()]
    columns.append((mask_NT.sum(1) - 1).float())
    feature_BKF: Tensor = torch.stack(columns, 1).unflatten(0, (num_rows, num_best))
    return feature_BKF


def rescored(found: Generated, feature_BKF: Tensor, weight_F: Sequence[float]) -> Generated:
    """Return the texts in the order of search's score + features * weights; places without a text stay last."""
    score_BK = scores(found.score_BK, feature_BKF, weight_F)
    order_BK = score_BK.argsort(dim=1, descending=True, stable=True)
    order_BKT = order_BK[..., None].expand_as(found.token_BKT)
    return Generated(
        found.token_BKT.gather(1, order_BKT), found.log_p_BKT.gather(1, order_BKT), score_BK.gather(1, order_BK)
    )


def scores(score_BK: Tensor, feature_BKF: Tensor, weight_F: Sequence[float]) -> Tensor:
    """Return search's score + features * weights, (B, K); a feature of weight 0 is not heard, whatever it says."""
    weighted = [feature_BKF[..., f] * weight for f, weight in enumerate(weight_F) if weight]
    total_BK = score_BK + sum(weighted)
    return torch.where(score_BK == NEG_INF, NEG_INF, total_BK.masked_fill(total_BK.isnan(), NEG_INF))


def tune(
    score_BK: Tensor,
    feature_BKF: Tensor,
    worth: Callable[[list[int]], float],
    grid: Sequence[float] = GRID,
    *,
    advance: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Return the weights under which the chosen texts are worth most, by coordinate search from 0.

    Args:
        worth: says how good it is to choose text number k_b for each row b; higher is better.
        advance: told how many of at most how many choices were tried.
    """
    weight_F = [0.0] * feature_BKF.shape[2]
    known: dict[tuple[int, ...], float] = {}
    num_tried, most = 0, 1 + _ROUNDS * len(weight_F) * len(grid)

    def value(trial_F: Sequence[float]) -> float:
        nonlocal num_tried
        num_tried += 1
        if advance is not None:
            advance(num_tried, most)
        chosen = tuple(scores(score_BK, feature_BKF, trial_F).argmax(1).tolist())
        if chosen not in known:
            known[chosen] = worth(list(chosen))
        return known[chosen]

    best = value(weight_F)
    for _ in range(_ROUNDS):
        before = best
        for f in range(len(weight_F)):
            for trial in sorted(grid, key=abs):
                trial_F = [*weight_F[:f], trial, *weight_F[f + 1 :]]
                if (reached := value(trial_F)) > best:
                    best, weight_F = reached, trial_F
        if best == before:
            break
    return weight_F
