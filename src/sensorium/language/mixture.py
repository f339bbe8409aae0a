"""The linear mixture: P(w) = sum_k w_k P_k(w), a scorer made of scorers.

Enters: scorers over one vocabulary and their weights.  Leaves: a scorer.
Source: Jelinek and Mercer 1980, "Interpolated estimation of Markov source parameters".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from sensorium.core.logspace import log_mix
from sensorium.core.protocols import Scorer
from sensorium.core.types import Conditioning
from sensorium.language.mixture_weights import fit_mixture_weights
from sensorium.language.parts import Parts, Scored, checked_weights, held_out_scores
from sensorium.language.shares import Shares, linear_shares


class Mixture(nn.Module):
    """Let each part have its share of the probability; all equal until set or fitted.

    Raises:
        ModelError: no part, or parts whose vocabularies differ.
    """

    fitted_by = "parts"
    log_weight_K: Tensor

    def __init__(self, parts: Sequence[Scorer]) -> None:
        super().__init__()
        self.parts = Parts(parts)
        self.vocab = self.parts.vocab
        self.register_buffer("log_weight_K", torch.zeros(len(parts)))
        self.set_weights([1.0] * len(parts))

    @property
    def weights(self) -> list[float]:
        """Return the parts' shares, which sum to 1."""
        shares: list[float] = self.log_weight_K.exp().tolist()
        return shares

    def set_weights(self, weights: Sequence[float]) -> Self:
        """Fix the shares; they are scaled to sum to 1.  Raises ModelError."""
        weight_K = checked_weights(weights, len(self.parts))
        self.log_weight_K.copy_((weight_K / weight_K.sum()).log())
        return self

    @torch.no_grad()
    def fit_weights(self, held_out: Iterable[Scored]) -> list[float]:
        """Fit the shares on held-out (token_BT, mask_BT, cond) by EM; returns them.  Raises DataError."""
        self.set_weights(fit_mixture_weights(held_out_scores(self.parts, held_out)).tolist())
        return self.weights

    def start(self, cond: Conditioning) -> tuple[Any, ...]:
        """Begin B rows."""
        return self.parts.start(cond)

    def extend(self, state: tuple[Any, ...], token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        """Feed T tokens; returns log p(next) (B, V) and the new state."""
        log_p_KBV, state = self.parts.advance(state, token_BT, mask_BT)
        shares = self.log_weight_K.unbind()
        mixed_BV = log_p_KBV[0] + shares[0]
        for log_p_BV, share in zip(log_p_KBV[1:], shares[1:], strict=True):
            mixed_BV = torch.logaddexp(mixed_BV, log_p_BV + share)
        return mixed_BV, state

    def score_parts(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return each part's own log p of each token, (K, B, T)."""
        return self.parts.score(token_BT, mask_BT, cond)

    def shares(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Shares:
        """Return what each part has to do with each token."""
        return linear_shares(self.score_parts(token_BT, mask_BT, cond), self.log_weight_K[:, None, None])

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t, cond), (B, T)."""
        log_p_BT = log_mix(self.score_parts(token_BT, mask_BT, cond), self.log_weight_K[:, None, None])
        predicted_BT = mask_BT.clone()
        predicted_BT[:, 0] = False
        return torch.where(predicted_BT, log_p_BT, 0.0)
