"""The exact probability of each text of a list: what a classifier over answers reads.

Enters: a Scorer, its Conditioning and N texts.  Leaves: log p (B, N).
Common beginnings are scored once: the texts form a prefix tree, and every inner node costs one
`extend` for each row.  N texts of one token, asked without their end, cost the prefill alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.core.protocols import Scorer, State
from sensorium.core.pytree import select
from sensorium.core.types import Conditioning
from sensorium.decoding.trie import Trie, ended


@torch.no_grad()
def score_candidates(
    scorer: Scorer,
    cond: Conditioning,
    candidates: Sequence[Sequence[int]] | Trie,
    *,
    whole: bool = True,
    max_rows: int = 256,
) -> Tensor:
    """Return log p of each candidate given each row, (B, N) nats.

    Args:
        scorer: any; a module with dropout in `eval()`.
        cond: of B rows.
        candidates: N texts as ids without BOS and EOS; or a prepared Trie of them, taken as it is.
        whole: True asks for p(the text is this), with the EOS, and the N probabilities of different
            texts sum to at most 1; False asks for p(the text begins with this), one step less.
        max_rows: at most so many rows (or B, if greater) are scored at once, which bounds memory.

    Raises:
        UsageError: no candidate, or one with PAD or BOS in it.
    """
    if not isinstance(candidates, Trie):
        candidates = Trie.of(ended(candidates) if whole else candidates)
    trie, num_rows = candidates.to(cond.memory.x_BTD.device), cond.num_rows
    if not num_rows:
        return torch.zeros(0, len(trie.leaf_N), device=trie.token_E.device)
    row_B = torch.arange(num_rows, device=trie.token_E.device)
    total_BE = torch.zeros(num_rows, len(trie.token_E), device=row_B.device)
    pending = [_Part(torch.zeros_like(trie.token_E[:1]), scorer.start(cond), row_B)]
    while pending:  # depth first, so that at most one state for each level of the tree is alive
        part = pending.pop()
        token_N1 = trie.token_E[part.node_Q].repeat(num_rows)[:, None]
        mask_N1 = torch.ones_like(token_N1, dtype=torch.bool)
        log_p_NV, state = scorer.extend(select(part.state, part.row_N), token_N1, mask_N1)
        log_p_BQV = log_p_NV.unflatten(0, (num_rows, len(part.node_Q)))
        child_C, from_C = trie.children(part.node_Q)
        total_BC = total_BE[:, part.node_Q[from_C]] + log_p_BQV[:, from_C, trie.token_E[child_C]]
        total_BE[:, child_C] = total_BC.to(total_BE.dtype)
        pending += _parts(trie, child_C, from_C, state, log_p_BQV.shape[:2], max_rows)
    return total_BE[:, trie.leaf_N]


@dataclass(frozen=True, slots=True)
class _Part:
    """Q inner nodes that wait to be entered: from the rows `row_N` (N = B * Q) of their parents' state."""

    node_Q: Tensor
    state: State
    row_N: Tensor


def _parts(
    trie: Trie, child_C: Tensor, from_C: Tensor, state: State, shape: Sequence[int], max_rows: int
) -> Iterator[_Part]:
    """Cut the inner nodes among the children of Q nodes into parts of at most `max_rows` rows."""
    num_rows, num_parents = shape
    inner_C = trie.num_children_E[child_C] > 0
    first_B1 = torch.arange(num_rows, device=child_C.device)[:, None] * num_parents
    size = max(1, max_rows // max(1, num_rows))
    node_I, from_I = child_C[inner_C], from_C[inner_C]
    for start in range(0, len(node_I), size):
        part = slice(start, start + size)
        yield _Part(node_I[part], state, (first_B1 + from_I[part]).flatten())
