"""The arithmetic of CTC prefixes: how probable it is that a text begins so, or is exactly so.

Enters: log-probabilities of blank and tokens, frame by frame.  Leaves: log-probabilities of prefixes.
Sources: Graves et al. 2006, "Connectionist temporal classification"; Graves 2012, "Supervised sequence
labelling with recurrent neural networks", section 7.5; Watanabe et al. 2017, "Hybrid CTC/attention
architecture for end-to-end speech recognition", algorithm 2.

For a prefix g and frames 1..F, with y_t(k) the probability of class k at frame t,

    n_t(g), b_t(g)  p(frames 1..t spell g, the last of them a token, or a blank)
    phi_t(g, c)   = b_{t-1}(g) + n_{t-1}(g) [c is not g's last token]      ready for a new c at t
    n_t(gc)       = (n_{t-1}(gc) + phi_t(g, c)) y_t(c)
    b_t(gc)       = (b_{t-1}(gc) + n_{t-1}(gc)) y_t(blank)
    p(gc...)      = sum_t phi_t(g, c) y_t(c)                               the text begins with gc
    p(g)          = n_F(g) + b_F(g)                                        the text is g

Both recurrences are linear, x_t = (x_{t-1} + a_t) y_t, so x_t / (y_1 ... y_t) is a cumulative sum and
a token costs no loop over frames.  The cumulated log y reaches thousands, hence float64.

Letters beside the shared ones: F frames.  Impossible is `NEVER`, a finite number, so that no gradient is NaN;
a log y of `LEAST` stands for zero too, small enough to be none and large enough to be summed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.core.logspace import NEG_INF
from sensorium.core.vocabulary import BOS, EOS, PAD

BLANK = PAD
"""The class of PAD, which no text holds, is the blank."""
NEVER = -1e30
LEAST = -1e6


@dataclass(frozen=True, slots=True)
class Prefix:
    """One prefix a row, B rows.

    Attributes:
        log_n_BF, log_b_BF: (B, F + 1) float64, log n_t and log b_t for t = 0..F.
        log_p_B: (B,) float64, log p(the text begins so).
        last_B: (B,) int64, the last token; PAD when there is none.
    """

    log_n_BF: Tensor
    log_b_BF: Tensor
    log_p_B: Tensor
    last_B: Tensor


def empty_prefix(log_y_BFV: Tensor) -> Prefix:
    """Return the prefix of no tokens: blanks alone."""
    log_b_BF = F.pad(log_y_BFV[..., BLANK].cumsum(1), (1, 0))
    zero_B = torch.zeros_like(log_b_BF[:, 0])
    last_B = torch.full(zero_B.shape, PAD, device=zero_B.device)
    return Prefix(torch.full_like(log_b_BF, NEVER), log_b_BF, zero_B, last_B)


def extended(prefix: Prefix, token_B: Tensor, log_y_BFV: Tensor) -> Prefix:
    """Return each row's prefix with one token more."""
    index_BF1 = token_B[:, None, None].expand(-1, log_y_BFV.shape[1], 1)
    log_y_BF = log_y_BFV.gather(2, index_BF1).squeeze(2)
    log_phi_BF = torch.where(
        (token_B == prefix.last_B)[:, None],
        prefix.log_b_BF[:, :-1],
        torch.logaddexp(prefix.log_b_BF[:, :-1], prefix.log_n_BF[:, :-1]),
    )
    log_n_BF = _recurrence(log_phi_BF, log_y_BF)
    log_b_BF = _recurrence(log_n_BF[:, :-1], log_y_BFV[..., BLANK])
    log_p_B = _possible((log_phi_BF + log_y_BF).logsumexp(1)) if log_y_BF.shape[1] else prefix.log_p_B + NEVER
    return Prefix(log_n_BF, log_b_BF, log_p_B, token_B)


def whole(prefix: Prefix) -> Tensor:
    """Return log p(the text is exactly the prefix), (B,)."""
    return _possible(torch.logaddexp(prefix.log_n_BF[:, -1], prefix.log_b_BF[:, -1]))


def following(prefix: Prefix, longer: Prefix, token_B: Tensor) -> Tensor:
    """Return log p(token | prefix) (B,), where `longer` is the prefix with the token; as `next_tokens` has it."""
    is_end_B = token_B == EOS
    log_p_B = torch.where(is_end_B, whole(prefix), longer.log_p_B) - prefix.log_p_B
    is_possible_B = prefix.log_p_B > LEAST / 2
    log_p_B = torch.where(is_possible_B, log_p_B, torch.where(is_end_B, 0.0, NEG_INF))
    return log_p_B.masked_fill((log_p_B < LEAST / 2) | (token_B == PAD) | (token_B == BOS), NEG_INF)


def next_tokens(prefix: Prefix, log_y_BFV: Tensor) -> Tensor:
    """Return log p(next token | prefix) (B, V), EOS for the end; after an impossible prefix, EOS is sure."""
    log_b_BF, log_n_BF = prefix.log_b_BF[:, :-1], prefix.log_n_BF[:, :-1]
    log_ready_BF1 = torch.logaddexp(log_b_BF, log_n_BF)[..., None]
    repeat_BV = F.one_hot(prefix.last_B, log_y_BFV.shape[2]).bool()
    log_phi_BFV = torch.where(repeat_BV[:, None], log_b_BF[..., None], log_ready_BF1)
    if log_y_BFV.shape[1]:
        log_p_BV = (log_phi_BFV + log_y_BFV).logsumexp(1)
    else:
        log_p_BV = log_y_BFV.new_full(repeat_BV.shape, NEVER)
    log_p_BV = log_p_BV.clone()
    log_p_BV[:, [BLANK, BOS]] = NEVER
    log_p_BV[:, EOS] = whole(prefix)
    # The mass of all ways on is p(prefix); dividing by their own sum keeps rounding out of the total.
    log_p_BV = log_p_BV - log_p_BV.logsumexp(1, keepdim=True)
    sure_V = log_p_BV.new_full(log_p_BV.shape[1:], NEG_INF)
    sure_V[EOS] = 0
    is_possible_B1 = (prefix.log_p_B > LEAST / 2)[:, None]
    return torch.where(is_possible_B1, log_p_BV.masked_fill(log_p_BV < LEAST / 2, NEG_INF), sure_V)


def _recurrence(log_a_BF: Tensor, log_y_BF: Tensor) -> Tensor:
    """Return log x_t for t = 0..F, where x_0 = 0 and x_t = (x_{t-1} + a_t) y_t."""
    total_BF = log_y_BF.cumsum(1)
    before_BF = F.pad(total_BF, (1, -1)) if total_BF.shape[1] else total_BF
    log_x_BF = (log_a_BF - before_BF).logcumsumexp(1) + total_BF
    return F.pad(_possible(log_x_BF), (1, 0), value=NEVER)


def _possible(log_x: Tensor) -> Tensor:
    """Bring what is impossible back to NEVER, with no gradient."""
    return torch.where(log_x < LEAST / 2, NEVER, log_x)
