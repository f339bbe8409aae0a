"""Constrained decoding: only texts of a given list can be generated.

Enters: the allowed texts as token ids.  Leaves: a filter that walks a prefix tree beside each path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from sensorium.core.logspace import NEG_INF, log_normalise
from sensorium.core.vocabulary import PAD
from sensorium.decoding.trie import Trie, ended


class AllowedSequences:
    """Forbid every token that leads out of the allowed texts.  The state is each path's node, (N,).

    Args:
        sequences: the texts without BOS and EOS; each is allowed to end only where it ends.
        renormalise: spread the mass of forbidden tokens over the allowed ones at every step, so that
            a search compares them alone.  For the exact posterior over the list normalise
            `score_candidates` instead.

    Raises:
        UsageError: no sequence, or one with PAD or BOS in it.
    """

    def __init__(self, sequences: Iterable[Sequence[int]], *, renormalise: bool = False) -> None:
        self.renormalise = renormalise
        self._trie = Trie.of(ended(sequences))
        self._max_children = int(self._trie.num_children_E.max())

    def start(self, num_rows: int, device: torch.device) -> Tensor:
        """Put every path at the root."""
        self._trie = self._trie.to(device)
        return torch.zeros(num_rows, dtype=torch.long, device=device)

    def apply(self, log_p_NV: Tensor, state: Tensor, token_NT: Tensor) -> tuple[Tensor, Tensor]:
        """Follow the last token, then keep log p of the new node's children only."""
        node_N = self._child(state, token_NT[:, -1]) if token_NT.shape[1] else state
        token_NC = self._children(node_N)[1]
        # Where a node has fewer children than others stands PAD, whose log p is -inf anyway.
        kept_NC = log_p_NV.gather(1, token_NC).masked_fill(token_NC == PAD, NEG_INF)
        if self.renormalise:
            kept_NC = log_normalise(kept_NC)
        return torch.full_like(log_p_NV, NEG_INF).scatter(1, token_NC, kept_NC), node_N

    def _children(self, node_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return the children of each node and the tokens that lead there, (N, C); dead end and PAD fill up."""
        first_N1 = self._trie.first_child_E[node_N, None]
        end_N1 = self._trie.first_child_E[node_N + 1, None]
        child_NC = first_N1 + torch.arange(self._max_children, device=node_N.device)
        child_NC = torch.where(child_NC < end_N1, child_NC, self._trie.dead_end)
        return child_NC, self._trie.token_E[child_NC]

    def _child(self, node_N: Tensor, token_N: Tensor) -> Tensor:
        """Follow a token from each node; the dead end where it leads out of the tree."""
        child_NC, token_NC = self._children(node_N)
        return torch.where(token_NC == token_N[:, None], child_NC, self._trie.dead_end).amin(1)
