"""Whose word a token is: what each part of a composition said of it, and its share.

Enters: each part's log p of the tokens that were said, and its weight before them.  Leaves: shares that sum to 1.

    linear, gate   share_k = w_k p_k / sum_j w_j p_j, the chance that the token was drawn from part k
    product        share_k = w_k log p_k / sum_j w_j log p_j, its part of the nats that the product pays before Z

Sources: Jelinek and Mercer 1980 (the responsibilities of EM); Klakow 1998 (log-linear interpolation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.core.logspace import log_normalise


@dataclass(frozen=True, slots=True)
class Shares:
    """What K parts have to do with each token, (K, B, T) each; column 0 is BOS, which nobody predicts.

    Attributes:
        log_p_KBT: each part's own log p of the token.
        weight_KBT: the part's weight before the token is seen: a mixture's, a gate's there, a product's exponent.
        share_KBT: its share in the token that came; sums to 1 over the parts.
        together_BT: what all of them together say of the token, its log p by the composition, (B, T).
    """

    log_p_KBT: Tensor
    weight_KBT: Tensor
    share_KBT: Tensor
    together_BT: Tensor


def linear_shares(log_p_KBT: Tensor, log_weight: Tensor) -> Shares:
    """Share a linear mixture's tokens; `log_weight` is (K, B, T), or (K, 1, 1).

    A token that every part rules out is shared by weight.
    """
    log_weight_KBT = log_weight.expand_as(log_p_KBT)
    joint_KBT = log_weight_KBT + log_p_KBT
    possible_BT = joint_KBT.amax(0) > -torch.inf
    return Shares(
        log_p_KBT,
        log_weight_KBT.exp(),
        log_normalise(torch.where(possible_BT, joint_KBT, log_weight_KBT), 0).exp(),
        joint_KBT.logsumexp(0),
    )


def product_shares(log_p_KBT: Tensor, weight_K: Tensor, together_BT: Tensor) -> Shares:
    """Share a product's tokens, whose log p after Z is `together_BT`; a part of weight 0 is not heard.

    A part that rules a token out has all of it; one that costs no part any nats is shared by weight.
    """
    weight_KBT = weight_K[:, None, None].expand_as(log_p_KBT)
    term_KBT = torch.where(weight_KBT == 0, 0.0, -weight_KBT * log_p_KBT)
    vetoes_KBT = (term_KBT == torch.inf).to(term_KBT.dtype)
    term_KBT = torch.where(vetoes_KBT.any(0), vetoes_KBT, term_KBT)
    term_KBT = torch.where(term_KBT.sum(0) > 0, term_KBT, weight_KBT)
    return Shares(log_p_KBT, weight_KBT, term_KBT / term_KBT.sum(0), together_BT)


def joined(found: Sequence[Shares], length: int) -> Shares:
    """Put runs of rows one below the other; what stands behind a run's longest text is 0."""
    columns = zip(*((s.log_p_KBT, s.weight_KBT, s.share_KBT, s.together_BT) for s in found), strict=True)
    return Shares(*(torch.cat([F.pad(x, (0, length - x.shape[-1])) for x in xs], -2) for xs in columns))
