"""A gate: P(w) = sum_k g_k(h) P_k(w), whose shares g are set anew before every token.

Enters: scorers over one vocabulary.  Leaves: a scorer.  A small network reads how sure each part is of the next
token: its entropy, what it thinks of the word that each part likes best, and facts of its own (an n-gram's matched
contexts).

    g(h) = softmax(log w + U gelu(V x(h) + b) + c)

w are the shares of the linear mixture, and U = c = 0 until `fit_weights`: the gate starts as that mixture, and is
taken only if it says more of held-out tokens that it was not fitted on.  Source: Jacobs et al. 1991, "Adaptive
mixtures of local experts", with parts that are fitted already; for language models Bakhtin et al. 2018,
"Lightweight adaptive mixture of neural and n-gram language models".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.core.protocols import FactualScorer, Scorer
from sensorium.core.types import Conditioning
from sensorium.language.gate_fitting import HeldOut, fit_gate
from sensorium.language.parts import Parts, Scored, checked_weights
from sensorium.language.shares import Shares, linear_shares

_HIDDEN = 32
_LEAST_LOG_P = -20.0  # what a part says of a word that it rules out


class Gate(nn.Module):
    """Share the probability among the parts, by a network that reads how sure they are.

    Letters beside the shared ones: K parts, X numbers that the network reads.

    Raises:
        ModelError: no part, or parts whose vocabularies differ.
    """

    fitted_by = "parts"
    log_weight_K: Tensor
    centre_X: Tensor
    scale_X: Tensor
    mean_share_K: Tensor

    def __init__(self, parts: Sequence[Scorer]) -> None:
        super().__init__()
        self.parts = Parts(parts)
        self.vocab = self.parts.vocab
        num_parts = len(parts)
        num_read = num_parts * (1 + num_parts) + sum(_num_facts(part) for part in parts)
        self.hidden = nn.Linear(num_read, _HIDDEN)
        self.output = nn.Linear(_HIDDEN, num_parts)
        self.register_buffer("log_weight_K", torch.zeros(num_parts))
        self.register_buffer("mean_share_K", torch.zeros(num_parts))
        self.register_buffer("centre_X", torch.zeros(num_read))
        self.register_buffer("scale_X", torch.ones(num_read))
        for parameter in [*self.hidden.parameters(), *self.output.parameters()]:
            parameter.requires_grad_(False)  # fitted on held-out rows, never on those that the parts learn from
        self.set_weights([1.0] * num_parts)

    @property
    def weights(self) -> list[float]:
        """Return the parts' shares, which sum to 1; once fitted, their mean over the held-out tokens."""
        shares: list[float] = self.mean_share_K.tolist()
        return shares

    @torch.no_grad()
    def set_weights(self, weights: Sequence[float]) -> Self:
        """Fix the shares, the same before every token; they are scaled to sum to 1.  Raises ModelError."""
        weight_K = checked_weights(weights, len(self.parts))
        self.mean_share_K.copy_(weight_K / weight_K.sum())
        self.log_weight_K.copy_(self.mean_share_K.log())
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        return self

    @torch.no_grad()
    def fit_weights(self, held_out: Iterable[Scored]) -> list[float]:
        """Fit the linear shares by EM, then the network by gradient; returns the mean shares.

        Args:
            held_out: (token_BT, mask_BT, cond) that no part was fitted on.

        Raises:
            DataError: no held-out token that any part can produce.
        """
        seen = [self._read(*scored) for scored in held_out]
        found = HeldOut(
            torch.cat([torch.empty(0, len(self.parts)), *(log_p_NK for log_p_NK, _ in seen)]),
            torch.cat([torch.empty(0, len(self.centre_X)), *(x_NX for _, x_NX in seen)]),
        )
        fit_gate(self, found)
        return self.weights

    def start(self, cond: Conditioning) -> tuple[Any, ...]:
        """Begin B rows."""
        return self.parts.start(cond)

    def extend(self, state: tuple[Any, ...], token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        """Feed T tokens; returns log p(next) (B, V) and the new state."""
        log_p, state = self.parts.advance(state, token_BT, mask_BT)
        log_p_KBV = torch.stack(log_p)
        facts = [
            part.facts(own) for part, own in zip(self.parts, state, strict=True) if isinstance(part, FactualScorer)
        ]
        share_BK = self.log_shares(_features(log_p_KBV, facts))
        return (log_p_KBV + share_BK.T[..., None]).logsumexp(0), state

    def score_parts(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return each part's own log p of each token, (K, B, T)."""
        return self.parts.score(token_BT, mask_BT, cond)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t, cond), (B, T)."""
        if token_BT.shape[1] == 1:
            return torch.zeros_like(token_BT, dtype=torch.float32)
        log_p_BTK, x_BTX = self._unrolled(token_BT, mask_BT, cond)
        mixed_BT = (log_p_BTK + self.log_shares(x_BTX)).logsumexp(-1)
        return F.pad(torch.where(mask_BT[:, 1:], mixed_BT, 0.0), (1, 0))

    def shares(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Shares:
        """Return what each part has to do with each token; at BOS, which nobody predicts, the mean shares."""
        log_p_BTK, x_BTX = self._unrolled(token_BT, mask_BT, cond)
        log_p_KBT = torch.where(mask_BT[:, 1:], log_p_BTK.movedim(-1, 0), 0.0)
        log_share_KBT = self.log_shares(x_BTX).movedim(-1, 0)
        at_bos_KB1 = self.mean_share_K.log()[:, None, None].expand(-1, len(token_BT), 1)
        return linear_shares(F.pad(log_p_KBT, (1, 0)), torch.cat([at_bos_KB1, log_share_KBT], 2))

    def log_shares(self, x: Tensor) -> Tensor:
        """Return log g, (..., K), from what the network reads, (..., X)."""
        scaled = (x - self.centre_X) / self.scale_X
        log_share: Tensor = (self.log_weight_K + self.output(F.gelu(self.hidden(scaled)))).log_softmax(-1)
        return log_share

    def _unrolled(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> tuple[Tensor, Tensor]:
        """Return each part's log p of tokens 1..T-1, (B, T-1, K), and what the network reads before them."""
        before_BT, real_BT = token_BT[:, :-1], mask_BT[:, :-1]
        log_p_KBTV, facts = self.parts.unroll_with_facts(before_BT, real_BT, cond)
        target_KBT1 = token_BT[None, :, 1:, None].expand(len(self.parts), -1, -1, 1)
        return log_p_KBTV.gather(-1, target_KBT1).squeeze(-1).movedim(0, -1), _features(log_p_KBTV, facts)

    def _read(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> tuple[Tensor, Tensor]:
        log_p_BTK, x_BTX = self._unrolled(token_BT, mask_BT, cond)
        real_BT = mask_BT[:, 1:]
        return log_p_BTK[real_BT].float().cpu(), x_BTX[real_BT].float().cpu()


def _num_facts(part: Any) -> int:
    num_facts: int = part.num_facts if isinstance(part, FactualScorer) else 0
    return num_facts


def _features(log_p: Tensor, facts: Sequence[Tensor]) -> Tensor:
    """Return (..., X) from log_p (K, ..., V): entropies, everybody's log p of everybody's best word, the facts."""
    entropy = torch.special.entr(log_p.exp()).sum(-1).movedim(0, -1)
    best = log_p.argmax(-1)  # (K, ...)
    of_best = [part.gather(-1, best.movedim(0, -1)).clamp_min(_LEAST_LOG_P) for part in log_p]
    return torch.cat([entropy, *of_best, *facts], -1)
