"""Judge rankings: how early, and how purely, a query finds what is right for it.

Enters: scores of candidates (Q, N), and which candidates are right for which query.  Leaves: numbers by name.

    recall_at_k     share of queries with a right answer among their first k (Karpathy and Li 2015, section 4.1)
    median_rank     median over queries of the first right answer's rank, from 1
    precision_at_k  right answers among the first k / k
    f1_at_k         2 P R / (P + R), R = right answers among the first k / all right answers of the query

Precision and F1 say something of their own only where a query has several right answers.  A candidate that is not
right and ties with one that is comes before it, so that a model which says the same of all finds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from sensorium.core.errors import DataError

RECALL_AT = (1, 5, 10)
SEVERAL_AT = 5


def ranks(score_QN: Tensor, is_right_QN: Tensor) -> list[Tensor]:
    """Return the ranks, from 1 and ascending, of each query's right answers, int64 (R,) for each of Q.

    Raises:
        DataError: a query without a right answer.
    """
    if not bool(is_right_QN.any(1).all()):
        raise DataError("a query has no right answer among the candidates")
    ranked_QN = is_right_QN.gather(1, order(score_QN, is_right_QN))
    return [torch.nonzero(right_N)[:, 0] + 1 for right_N in ranked_QN]


def order(score_QN: Tensor, is_right_QN: Tensor) -> Tensor:
    """Return each query's candidates, best first, int64 (Q, N)."""
    # Stable: of equal scores, those that are not right keep their place in front.
    wrong_first_QN = torch.argsort(is_right_QN.to(torch.int8), dim=1, stable=True)
    order_QN = torch.argsort(score_QN.gather(1, wrong_first_QN), dim=1, descending=True, stable=True)
    return wrong_first_QN.gather(1, order_QN)


def ranking_metrics(rank_R_by_query: Iterable[Tensor]) -> dict[str, float]:
    """Return the means over queries; precision and F1 only if some query has several right answers.

    Raises:
        DataError: there are no queries.
    """
    found = list(rank_R_by_query)
    if not found:
        raise DataError("there are no queries to judge")
    first_Q = torch.tensor([int(rank_R[0]) for rank_R in found])
    metrics = {f"recall_at_{k}": float((first_Q <= k).double().mean()) for k in RECALL_AT}
    metrics["median_rank"] = float(first_Q.double().quantile(0.5))
    if any(len(rank_R) > 1 for rank_R in found):
        hit_Q = torch.tensor([int((rank_R <= SEVERAL_AT).sum()) for rank_R in found]).double()
        right_Q = torch.tensor([len(rank_R) for rank_R in found]).double()
        # 2 P R / (P + R) with P = hit / k and R = hit / right.
        metrics[f"precision_at_{SEVERAL_AT}"] = float((hit_Q / SEVERAL_AT).mean())
        metrics[f"f1_at_{SEVERAL_AT}"] = float((2 * hit_Q / (SEVERAL_AT + right_Q)).mean())
    return metrics
