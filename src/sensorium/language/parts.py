"""What mixtures and products share: several scorers over one vocabulary, run side by side.

Enters: scorers.  Leaves: their states as one state, and what each of them says, stacked.

Letters beside the shared ones: K parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.core.errors import ModelError
from sensorium.core.protocols import FactualScorer, HiddenScorer, RememberingScorer, Scorer, UnrollingScorer
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
            found[k] = cast(RememberingScorer, self[k]).given(hidden[other], found[other][0])
        pairs = [found[k] for k in range(len(self))]
        return [log_p_BV for log_p_BV, _ in pairs], tuple(state for _, state in pairs)

    def _read(self) -> dict[int, int]:
        """Say which parts read which other one's hidden vectors."""
        numbers = {id(part): k for k, part in enumerate(self)}
        readers = {k: part for k, part in enumerate(self) if isinstance(part, RememberingScorer)}
        return {k: numbers[id(part.read_scorer)] for k, part in readers.items() if id(part.read_scorer) in numbers}

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return each part's log p of each token, (K, B, T); what one part reads of another is computed once."""
        found = {}
        if token_BT.shape[1] > 1:
            for k, (log_p_BTV, _) in self._reading(token_BT[:, :-1], mask_BT[:, :-1], cond).items():
                found[k] = of_targets(log_p_BTV, token_BT, mask_BT)
        parts = enumerate(self.scorers())
        return torch.stack([found[k] if k in found else part.score(token_BT, mask_BT, cond) for k, part in parts])

    def unroll(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return each part's whole log p(next) after each position, (K, B, T, V); padding holds anything."""
        return self.unroll_with_facts(token_BT, mask_BT, cond, of_facts=False)[0]

    def unroll_with_facts(
        self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning, of_facts: bool = True
    ) -> tuple[Tensor, list[Tensor]]:
        """Return each part's whole log p(next) after each position, (K, B, T, V), and the facts of those that have
        any, (B, T, F) each; what one part reads of another is computed once."""
        read, log_p, facts = self._reading(token_BT, mask_BT, cond), [], []
        for k, part in enumerate(self.scorers()):
            log_p_BTV, state = read[k] if k in read else (unroll(part, token_BT, mask_BT, cond), None)
            log_p.append(log_p_BTV)
            if of_facts and isinstance(part, FactualScorer):
                told = part.unroll_facts(token_BT, mask_BT, cond) if state is None else part.facts(state)
                facts.append(told.view(*token_BT.shape, part.num_facts))
        return torch.stack(log_p), facts

    def _reading(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> dict[int, tuple[Tensor, Any]]:
        """Run each part that others read once, then those that read it.

        Returns by part log p(next) after each position, (B, T, V), and the states there of those that read, as of
        B T rows.
        """
        read, fed_BT = self._read(), torch.where(mask_BT, token_BT, EOS)
        hidden, found = {}, dict[int, tuple[Tensor, Any]]()
        for k in sorted(set(read.values())):
            shown = cast(HiddenScorer, self[k])
            hidden[k] = shown.unroll_hidden(fed_BT, mask_BT, cond)
            found[k] = shown.predict(hidden[k]), None
        for k, other in read.items():
            reader = cast(RememberingScorer, self[k])
            log_p_QV, state = reader.given(hidden[other].flatten(0, 1), found[other][0].flatten(0, 1))
            found[k] = log_p_QV.view(*token_BT.shape, len(self.vocab)), state
        return found


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


def of_targets(log_p: Tensor, token_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return log p of each token, (..., B, T), from log p(next) before each but BOS, (..., B, T-1, V); 0 at BOS and
    at padding."""
    target = token_BT[:, 1:, None].expand(*log_p.shape[:-1], 1)
    return F.pad(torch.where(mask_BT[:, 1:], log_p.gather(-1, target)[..., 0], 0.0), (1, 0))


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
