"""What every neural scorer does at its two ends: which tokens may be emitted, and what a target scores.

Enters: logits over the vocabulary.  Leaves: log-probabilities whose support all scorers share: PAD and
BOS are never emitted.  That common support is what makes mixtures and products of scorers well defined.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.core.logspace import NEG_INF
from sensorium.core.vocabulary import BOS, PAD, Vocab

_IGNORE = -100


def emission_bias(vocab: Vocab) -> Tensor:
    """Return (V,) zeros, -inf at PAD and BOS.

    Added as the bias of an output layer it costs nothing, and its gradient is exactly zero.
    """
    bias_V = torch.zeros(len(vocab))
    bias_V[[PAD, BOS]] = NEG_INF
    return bias_V


def score_targets(logits_BTV: Tensor, token_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return log p(token_t | before t) (B, T), 0 at t = 0 and at padding.

    Args:
        logits_BTV: (B, T-1, V); position t predicts token t+1.
        token_BT: (B, T) int64, each row begins with BOS.
        mask_BT: (B, T) bool, True = real.
    """
    target_BT = torch.where(mask_BT[:, 1:], token_BT[:, 1:], _IGNORE)
    loss_N = F.cross_entropy(logits_BTV.flatten(0, 1), target_BT.flatten(), ignore_index=_IGNORE, reduction="none")
    return F.pad(-loss_N.view(target_BT.shape), (1, 0))


def last_real(x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Return each row's vector at its last real position, (B, D); padding is on the right."""
    last_B = mask_BT.sum(1) - 1
    return x_BTD[torch.arange(x_BTD.shape[0], device=x_BTD.device), last_B]


def pack_left(x_BTW: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Move each row's real positions to the left, keeping their order; returns vectors and mask."""
    order_BT = mask_BT.logical_not().to(torch.uint8).argsort(dim=1, stable=True)
    return x_BTW.gather(1, order_BT[..., None].expand_as(x_BTW)), mask_BT.gather(1, order_BT)
