"""The likeliest texts of a list, without scoring the others: branch and bound over a prefix tree.

Enters: a Scorer, its Conditioning and N texts.  Leaves: `Best`, the K likeliest of each row, exactly.

log p only falls along a path, so that of a beginning bounds every text that begins with it from above (Land and
Doig 1960, "An automatic method of solving discrete programming problems").  Each row follows its likeliest
beginnings first, and what is less likely than the K texts that it has found is never entered.  Where nothing is
sure, everything is: the search then costs what `score_candidates` does.

Letters beside the shared ones: N pairs of a row and a node that are entered together, C children, K texts a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.core.errors import UsageError
from sensorium.core.protocols import Scorer, State
from sensorium.core.pytree import select
from sensorium.core.types import Conditioning
from sensorium.decoding.trie import Trie

_ROUNDING = 1e-4
"""Nats by which a text's sum may exceed that of its beginning: log p above 0 is rounding."""
_NEGLIGIBLE = 1e-9
"""The most that all texts that are not entered have together, of the likeliest one, where shares are asked for."""


@dataclass(frozen=True, slots=True)
class Best:
    """The K likeliest texts of each row, the best first.

    Attributes:
        index_BK: (B, K) int64 into the list; of texts with the same tokens the first one stands for all.
        log_p_BK: (B, K) float64 nats.
        log_total_B: (B,) float64, log of what the texts that were scored have together.
        log_missed_B: (B,) float64, log of the most that all others may have together; -inf if all were scored.
    """

    index_BK: Tensor
    log_p_BK: Tensor
    log_total_B: Tensor
    log_missed_B: Tensor

    @property
    def share_BK(self) -> Tensor:
        """Return each text's probability among all N, (B, K): at least this, and exactly where none was missed.

        It is 0 where a row can have none of the texts.
        """
        log_total_B1 = torch.logaddexp(self.log_total_B, self.log_missed_B)[:, None]
        return torch.where(log_total_B1 > -torch.inf, (self.log_p_BK - log_total_B1).exp(), 0.0)

    @property
    def is_bound_B(self) -> Tensor:
        """Say of each row whether shares may be more than is told, by one in a million."""
        return self.log_missed_B > self.log_total_B + math.log(1e-6)


@torch.no_grad()
def best_candidates(
    scorer: Scorer,
    cond: Conditioning,
    candidates: Trie,
    *,
    num_best: int = 1,
    with_shares: bool = False,
    max_rows: int = 256,
) -> Best:
    """Find the `num_best` likeliest candidates of each row; of equal ones the first in the list.

    Args:
        scorer: any; a module with dropout in `eval()`.
        cond: of B rows.
        candidates: a tree whose texts end at its leaves: texts with their EOS, or none of which begins another.
        num_best: K, at most the number of distinct texts.
        with_shares: go on until `share_BK` is right to 1e-9, rather than a lower bound.
        max_rows: at most so many pairs are scored at once, which bounds memory.

    Raises:
        UsageError: one candidate begins another, or there are fewer than `num_best`.
    """
    trie = candidates.to(cond.memory.x_BTD.device)
    search = _Search(trie, cond.num_rows, num_best, with_shares)
    row_B = torch.arange(cond.num_rows, device=trie.token_E.device)
    pending = [_Part(torch.zeros_like(row_B), row_B, torch.zeros_like(row_B).double(), scorer.start(cond), row_B)]
    if not cond.num_rows:
        pending = []
    while pending:  # depth first, so that at most one state for each level of the tree is alive
        part = search.worth_entering(pending.pop())
        if not len(part.node_N):
            continue
        token_N1 = trie.token_E[part.node_N, None]
        log_p_NV, state = scorer.extend(
            select(part.state, part.from_N), token_N1, torch.ones_like(token_N1, dtype=torch.bool)
        )
        child_C, from_C = trie.children(part.node_N)
        log_p_C = part.log_p_N[from_C] + log_p_NV[from_C, trie.token_E[child_C]].double()
        children = _Part(child_C, part.row_N[from_C], log_p_C, state, from_C)
        is_end_C = trie.num_children_E[child_C] == 0
        search.take(children.at(is_end_C))
        pending += reversed(list(_by_rank(children.at(~is_end_C), max_rows)))
    return search.result()


@dataclass(frozen=True, slots=True)
class _Part:
    """N pairs of a node and a row, with the node's log p there; `from_N` is the row of its parent's `state`."""

    node_N: Tensor
    row_N: Tensor
    log_p_N: Tensor
    state: State
    from_N: Tensor

    def at(self, keep: Tensor) -> _Part:
        """Return some of the pairs, by bool (N,) or int64."""
        return _Part(self.node_N[keep], self.row_N[keep], self.log_p_N[keep], self.state, self.from_N[keep])


class _Search:
    """What has been found so far, and what is therefore not worth entering."""

    def __init__(self, trie: Trie, num_rows: int, num_best: int, with_shares: bool) -> None:
        device, num_nodes = trie.token_E.device, len(trie.token_E)
        if bool((trie.num_children_E[trie.leaf_N] > 0).any()):
            raise UsageError("one candidate begins another", advice="give each its EOS")
        num_distinct = len(set(trie.leaf_N.tolist()))
        if num_best > num_distinct:
            raise UsageError(f"{num_best} of {num_distinct} distinct candidates are asked for")
        number_N = torch.arange(len(trie.leaf_N), device=device)
        first_E = torch.full((num_nodes,), len(trie.leaf_N), device=device)
        self._text_E = first_E.scatter_reduce(0, trie.leaf_N, number_N, "amin")
        self._margin = math.log(_NEGLIGIBLE / num_nodes) if with_shares else 0.0
        nothing_B = torch.full((num_rows,), -torch.inf, dtype=torch.float64, device=device)
        self._total_B, self._missed_B = nothing_B, nothing_B.clone()
        self._log_p_BK = nothing_B[:, None].repeat(1, num_best)
        self._index_BK = torch.full((num_rows, num_best), len(trie.leaf_N), device=device)

    def worth_entering(self, part: _Part) -> _Part:
        """Return the pairs below which one of a row's K best texts may lie; what the others have is counted."""
        least_B = torch.minimum(self._log_p_BK[:, -1], self._log_p_BK[:, 0] + self._margin) - _ROUNDING
        enter_N = ~(part.log_p_N < least_B[part.row_N])
        left = part.at(~enter_N)
        self._missed_B = _log_add(self._missed_B, left.row_N, left.log_p_N)
        return part.at(enter_N)

    def take(self, ends: _Part) -> None:
        """Take in texts that end here."""
        if not len(ends.node_N):
            return
        num_rows, num_best = self._log_p_BK.shape
        self._total_B = _log_add(self._total_B, ends.row_N, ends.log_p_N)
        known_R = torch.arange(num_rows, device=ends.row_N.device).repeat_interleave(num_best)
        row_R = torch.cat([known_R, ends.row_N])
        log_p_R = torch.cat([self._log_p_BK.flatten(), ends.log_p_N])
        index_R = torch.cat([self._index_BK.flatten(), self._text_E[ends.node_N]])
        order_R = _rank_order(row_R, log_p_R, index_R)
        best_BK = order_R[_rank(row_R[order_R]) < num_best].view(num_rows, num_best)
        self._log_p_BK, self._index_BK = log_p_R[best_BK], index_R[best_BK]

    def result(self) -> Best:
        """Return what was found."""
        return Best(self._index_BK, self._log_p_BK, self._total_B, self._missed_B)


def _by_rank(part: _Part, max_rows: int) -> Iterator[_Part]:
    """Cut pairs into parts: the likeliest of every row first, then the second ones, and so on."""
    if not len(part.node_N):
        return
    order_N = _rank_order(part.row_N, part.log_p_N, part.node_N)
    order_N = order_N[_rank(part.row_N[order_N]).argsort(stable=True)]
    for start in range(0, len(order_N), max_rows):
        yield part.at(order_N[start : start + max_rows])


def _rank_order(row_R: Tensor, log_p_R: Tensor, number_R: Tensor) -> Tensor:
    """Order by row, within it by falling log p, equal ones by rising number."""
    order_R = number_R.argsort(stable=True)
    order_R = order_R[log_p_R[order_R].argsort(descending=True, stable=True)]
    return order_R[row_R[order_R].argsort(stable=True)]


def _rank(row_R: Tensor) -> Tensor:
    """Return each entry's place within its row, rows being sorted."""
    return torch.arange(len(row_R), device=row_R.device) - torch.searchsorted(row_R, row_R)


def _log_add(total_B: Tensor, row_N: Tensor, log_p_N: Tensor) -> Tensor:
    """Return log (exp(total) + the sum of exp(log_p) by row)."""
    if not len(row_N):
        return total_B
    most_B = total_B.scatter_reduce(0, row_N, log_p_N, "amax")
    safe_B = most_B.where(most_B > -torch.inf, 0.0)
    sum_B = (total_B - safe_B).exp().scatter_add(0, row_N, (log_p_N - safe_B[row_N]).exp())
    return sum_B.log() + safe_B
