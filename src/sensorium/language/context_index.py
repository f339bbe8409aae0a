"""Find all occurrences of a context, and what follows them, in the order that `suffix_array` sorts places into.

Enters: the next token of every place, in the order of contexts.  Leaves: intervals: the places whose contexts end
in the same tokens stand side by side, [low, high).  A token more leads from one interval to the next by counting
how often that token follows a place before it (backward search: Ferragina and Manzini 2000, "Opportunistic data
structures with applications", section 3):

    low' = C(w) + occ(w, low),   high' = C(w) + occ(w, high)

C(w) counts smaller tokens in the corpus, occ(w, r) the places before r that w follows.  Both together are the place
of (w, r) among the sorted pairs (next token, place), so that a whole batch is one binary search.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.core.vocabulary import BOS


@dataclass(frozen=True, slots=True)
class ContextIndex:
    """An index of N places.

    Attributes:
        next_N: the token after each place.
        pair_N: next token * (N + 1) + place, ascending.
        turn_N: how often the next token changed from one place to the one after, up to each place.
    """

    next_N: Tensor
    pair_N: Tensor
    turn_N: Tensor

    @classmethod
    def of(cls, next_N: Tensor) -> ContextIndex:
        """Sort the places by what follows them: O(N log N)."""
        place_N = torch.arange(next_N.numel(), device=next_N.device)
        pair_N = (next_N.long() * (next_N.numel() + 1) + place_N).sort().values
        turn_N = torch.zeros_like(pair_N)
        turn_N[1:] = (next_N[1:] != next_N[:-1]).cumsum(0)
        return cls(next_N, pair_N, turn_N)

    def whole(self, shape: tuple[int, ...]) -> Tensor:
        """Return the interval of the empty context, (*shape, 2)."""
        return torch.tensor([0, self.next_N.numel()], device=self.next_N.device).expand(*shape, 2)

    def extend(self, interval: Tensor, token: Tensor) -> Tensor:
        """Return the intervals (..., 2) of contexts that go on by `token` (...)."""
        return torch.searchsorted(self.pair_N, token[..., None] * (self.next_N.numel() + 1) + interval)

    def num_runs(self, interval_M2: Tensor) -> Tensor:
        """Return (M,) how many runs of equal next tokens M intervals have, none empty: 1 = one token alone follows.

        A number that bounds how many tokens follow, and costs no look at the places in between.
        """
        return self.turn_N[interval_M2[:, 1] - 1] - self.turn_N[interval_M2[:, 0]] + 1

    def members(self, interval_M2: Tensor) -> tuple[Tensor, Tensor]:
        """Return the places in M intervals, one after the other: which interval (E,), and the place (E,)."""
        size_M = interval_M2[:, 1] - interval_M2[:, 0]
        owner_E = torch.repeat_interleave(torch.arange(len(size_M), device=size_M.device), size_M)
        first_M = interval_M2[:, 0] - (size_M.cumsum(0) - size_M)
        return owner_E, torch.arange(owner_E.numel(), device=size_M.device) + first_M[owner_E]

    def insertion_ranks(self, token_T: Tensor) -> Tensor:
        """Return (T,) how many places come before each context of other sequences laid end to end."""
        ranks, rank = [], torch.zeros((), dtype=torch.int64)
        first_of_next = torch.searchsorted(self.pair_N, (BOS + 1) * (self.next_N.numel() + 1))
        for token in token_T.to(self.pair_N.device):
            rank = first_of_next if token == BOS else self.extend(rank[None], token)[0]
            ranks.append(rank)
        return torch.stack(ranks)
