"""What mixtures and products share: several scorers over one vocabulary, run side by side.

Enters: scorers.  Leaves: their states as one state, and what each of them says, stacked.

Letters beside the shared ones: K parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from sensorium.core.errors import ModelError
from sensorium.core.protocols import HiddenScorer, RememberingScorer, Scorer, UnrollingScorer
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import EOS, Vocab, require_same

Scored = tuple[Tensor, Tensor, Conditioning]  # token_BT, mask_BT, cond


class Parts(nn.ModuleList):
    """Scorers that are fed the same tokens.

    Raises:
        ModelError: no part, or parts whose vocabularies differ.
    """

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        if not scorers:
            raise ModelError("a composition needs at least one scorer")
        self.vocab: Vocab = require_same([scorer.vocab for scorer in scorers])
        super().__init__(cast(Sequence[nn.Module], scorers))

    def scorers(self) -> Iterator[Scorer]:
        """Go through the parts as scorers."""
        return (cast(Scorer, part) for part in self)

    def start(self, cond: Conditioning) -> tuple[Any, ...]:
        """Begin B rows in every part; one that reads another part leaves the state to that."""
        read = self._read()
        return tuple(() if k in read else part.start(cond) for k, part in enumerate(self.scorers()))

    def advance(
        self, states: tuple[Any, ...], token_BT: Tensor, mask_BT: Tensor
    ) -> tuple[list[Tensor], tuple[Any, ...]]:
        """Feed every part, one that others read once for all; returns each one's log p(next) (B, V), and their
        states."""
        read, hidden, found = self._read(), {}, dict[int, tuple[Tensor, Any]]()
        for k, (part, state) in enumerate(zip(self.scorers(), states, strict=True)):
            if k in read.values():
                shown = cast(HiddenScorer, part)
                hidden[k], state = shown.extend_hidden(state, token_BT, mask_BT)
                found[k] = shown.predict(hidden[k]), state
            elif k not in read:
                found[k] = part.extend(state, token_BT, mask_BT)
        for k, other in read.items():
            found[k] = cast(RememberingScorer, self[k]).given(hidden[other])
        pairs = [found[k] for k in range(len(self))]
        return [log_p_BV for log_p_BV, _ in pairs], tuple(state for _, state in pairs)

    def _read(self) -> dict[int, int]:
        """Say which parts read which other one's hidden vectors."""
        numbers = {id(part): k for k, part in enumerate(self)}
        readers = {k: part for k, part in enumerate(self) if isinstance(part, RememberingScorer)}
        return {k: numbers[id(part.read_scorer)] for k, part in readers.items() if id(part.read_scorer) in numbers}

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return each part's log p of each token, (K, B, T)."""
        return torch.stack([part.score(token_BT, mask_BT, cond) for part in self.scorers()])

    def unroll(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return each part's whole log p(next) after each position, (K, B, T, V); padding holds anything."""
        return torch.stack([unroll(part, token_BT, mask_BT, cond) for part in self.scorers()])


def unroll(scorer: Scorer, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
    """Return log p(next) after each position, (B, T, V): at once where the scorer can, else step by step."""
    fed_BT = torch.where(mask_BT, token_BT, EOS)
    if isinstance(scorer, UnrollingScorer):
        return scorer.unroll(fed_BT, mask_BT, cond)
    state, real_B1, steps = scorer.start(cond), torch.ones_like(mask_BT[:, :1]), []
    for t in range(token_BT.shape[1]):
        log_p_BV, state = scorer.extend(state, fed_BT[:, t : t + 1], real_B1)
        steps.append(log_p_BV)
    return torch.stack(steps, 1)


def checked_weights(weights: Sequence[float], num_parts: int) -> Tensor:
    """Return the weights as a tensor (K,).

    Raises:
        ModelError: not one weight a part, one below zero or not finite, or all zero.
    """
    weight_K = torch.tensor([float(weight) for weight in weights], dtype=torch.float64)
    if len(weight_K) != num_parts:
        raise ModelError(f"{len(weight_K)} weights for {num_parts} scorers")
    if not weight_K.isfinite().all() or (weight_K < 0).any() or weight_K.sum() == 0:
        raise ModelError(f"weights {list(weights)} are not all finite and at least 0, or are all 0")
    return weight_K


def held_out_scores(parts: Parts, batches: Iterable[Scored]) -> Tensor:
    """Return each part's log p of every predicted token of the batches, (K, N), on the CPU."""
    found = [torch.empty(len(parts), 0)]
    for token_BT, mask_BT, cond in batches:
        log_p_KBT = parts.score(token_BT, mask_BT, cond)
        found.append(log_p_KBT[:, :, 1:][:, mask_BT[:, 1:]].float().cpu())
    return torch.cat(found, 1)
