"""A prefix tree of token sequences, as flat tensors in breadth-first order.

Enters: sequences of ids.  Leaves: for every node its token and its children.
Breadth-first numbering makes the children of one node neighbours: node n has children
`first_child[n] .. first_child[n + 1] - 1`, so that tables stay linear in the number of nodes,
whatever the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.core.errors import UsageError
from sensorium.core.vocabulary import BOS, EOS, PAD


@dataclass(frozen=True, slots=True)
class Trie:
    """Node 0 is the root; there are E nodes in all, and one is added that nothing leads out of.

    Attributes:
        token_E: (E + 1,) int64, the token that leads into each node; BOS for the root, PAD for the last.
        first_child_E: (E + 2,) int64.
        leaf_N: (N,) int64, the node where each of the N given sequences ends.
    """

    token_E: Tensor
    first_child_E: Tensor
    leaf_N: Tensor

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int]]) -> Trie:
        """Build from sequences; the same one may come twice.

        Raises:
            UsageError: no sequence, an empty one, or one with PAD or BOS in it.
        """
        children: list[dict[int, int]] = [{}]
        ends = [_insert(children, number, sequence) for number, sequence in enumerate(sequences)]
        if not ends:
            raise UsageError("there is no sequence to choose from")
        return cls._flat(children, ends)

    @classmethod
    def _flat(cls, children: list[dict[int, int]], ends: list[int]) -> Trie:
        """Renumber the nodes, given as their children by token, breadth first."""
        order, token, first_child = [0], [BOS], list[int]()
        for node in order:  # grows while it is walked
            first_child.append(len(order))
            order.extend(children[node].values())
            token.extend(children[node].keys())
        place_of = torch.empty(len(order), dtype=torch.long)
        place_of[torch.tensor(order)] = torch.arange(len(order))
        return cls(
            torch.tensor([*token, PAD]),
            torch.tensor([*first_child, len(order), len(order)]),
            place_of[torch.tensor(ends)],
        )

    @property
    def dead_end(self) -> int:
        """Return the added node, where paths go that left the tree."""
        return len(self.token_E) - 1

    @property
    def num_children_E(self) -> Tensor:
        """Count each node's children, (E + 1,) int64."""
        return self.first_child_E.diff()

    def children(self, node_Q: Tensor) -> tuple[Tensor, Tensor]:
        """List all children of Q nodes, (C,), and which of the Q each belongs to, (C,), both int64."""
        num_Q = self.num_children_E[node_Q]
        from_C = torch.arange(len(node_Q), device=node_Q.device).repeat_interleave(num_Q)
        first_Q = self.first_child_E[node_Q] - (num_Q.cumsum(0) - num_Q)
        return first_Q[from_C] + torch.arange(len(from_C), device=node_Q.device), from_C

    def to(self, device: torch.device) -> Trie:
        """Return the same tree on `device`."""
        return Trie(*(x.to(device) for x in (self.token_E, self.first_child_E, self.leaf_N)))


def ended(sequences: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
    """Append EOS to every sequence, as a whole text has it."""
    return [(*sequence, EOS) for sequence in sequences]


def _insert(children: list[dict[int, int]], number: int, sequence: Sequence[int]) -> int:
    if not len(sequence) or PAD in sequence or BOS in sequence:
        raise UsageError(
            f"sequence {number} is {list(sequence)}", advice="give ids without PAD and BOS, at least one"
        )
    node = 0
    for token in map(int, sequence):
        if token not in children[node]:
            children[node][token] = len(children)
            children.append({})
        node = children[node][token]
    return node
