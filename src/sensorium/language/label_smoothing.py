"""Label smoothing: the target has 1 - e of the probability, all possible words share the rest.

Enters: a scorer and texts.  Leaves: each row's loss.

    smoothed = (1 - e) (-log p(target)) + e mean_v (-log p(v)),   v over the words with p > 0

What is returned has the value of -log p(target), so that what is reported stays the likelihood, and the gradient of
`smoothed`.
Source: Szegedy et al. 2016 (arXiv 1512.00567), section 7; in sequence models: Vaswani et al. 2017, section 5.4.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sensorium.core.types import Conditioning


def smoothed_nll(scorer: Any, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning, share: float) -> Tensor:
    """Return each row's negative log-likelihood in nats, (B,), with the gradient of the smoothed one.

    Args:
        scorer: an UnrollingScorer that is fitted by gradient.
        share: e, in 0..1.
    """
    if token_BT.shape[1] == 1:
        own_B: Tensor = -scorer.score(token_BT, mask_BT, cond).sum(1)
        return own_B
    log_p_BTV = scorer.unroll(token_BT[:, :-1], mask_BT[:, :-1], cond)
    nll_BT = -log_p_BTV.gather(2, token_BT[:, 1:, None])[..., 0]
    possible_BTV = log_p_BTV > -torch.inf
    others_BT = -log_p_BTV.masked_fill(~possible_BTV, 0).sum(2) / possible_BTV.sum(2)
    is_real_BT = mask_BT[:, 1:]
    nll_B = torch.where(is_real_BT, nll_BT, 0).sum(1)
    smoothed_B = torch.where(is_real_BT, (1 - share) * nll_BT + share * others_BT, 0).sum(1)
    loss_B: Tensor = smoothed_B + (nll_B - smoothed_B).detach()
    return loss_B
