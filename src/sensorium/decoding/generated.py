"""What decoding returns: token ids, their log-probabilities and, where the search has them, the n best."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.core.errors import ModelError
from sensorium.core.logspace import NEG_INF
from sensorium.core.vocabulary import EOS, PAD


@dataclass(frozen=True, slots=True)
class Generated:
    """The K best texts of each of B rows, best first; greedy and sampling give K = 1.

    Attributes:
        token_BKT: (B, K, T) int64 ids without BOS, with EOS where the text ended; PAD elsewhere.
        log_p_BKT: (B, K, T) float32, log p of each token by the scorer, before any filter; 0 at PAD.
        score_BK: (B, K) float32, what the search ranked by; -inf where it found fewer than K texts.
    """

    token_BKT: Tensor
    log_p_BKT: Tensor
    score_BK: Tensor

    @property
    def mask_BKT(self) -> Tensor:
        """Mark the real tokens, (B, K, T) bool."""
        return self.token_BKT != PAD

    @property
    def finished_BK(self) -> Tensor:
        """Say which texts ended with EOS, (B, K) bool; the others ran out of tokens or of allowed ones."""
        return (self.token_BKT == EOS).any(-1)

    @property
    def total_BK(self) -> Tensor:
        """Sum log p over each text, (B, K) nats; -inf where there is no text."""
        return torch.where(self.mask_BKT.any(-1), self.log_p_BKT.sum(-1), NEG_INF)

    @property
    def token_BT(self) -> Tensor:
        """Return the best text of each row, (B, T) int64."""
        return self.token_BKT[:, 0]

    @property
    def mask_BT(self) -> Tensor:
        """Mark the real tokens of the best text, (B, T) bool."""
        return self.mask_BKT[:, 0]

    @property
    def log_p_BT(self) -> Tensor:
        """Return log p of each token of the best text, (B, T) nats."""
        return self.log_p_BKT[:, 0]

    @property
    def total_B(self) -> Tensor:
        """Return log p of the best text, (B,) nats."""
        return self.total_BK[:, 0]

    @property
    def finished_B(self) -> Tensor:
        """Say whether the best text ended with EOS, (B,) bool."""
        return self.finished_BK[:, 0]


def trimmed(token_BKT: Tensor, log_p_BKT: Tensor, score_BK: Tensor | None = None) -> Generated:
    """Clear what lies behind each text's end, and drop the columns that nobody uses.

    A text ends at its first EOS, or where a PAD says that no token was possible any more.  Without
    `score_BK`, a text's score is its log p.

    Raises:
        ModelError: the scorer gave NaN for a token of a text.
    """
    # PAD, BOS and EOS are ids 0, 1 and 2; a search never chooses BOS while anything else is possible.
    stop_BKT = token_BKT <= EOS
    before_BKT = (stop_BKT.cumsum(-1) - stop_BKT.long()) == 0
    if bool((log_p_BKT.isnan() & before_BKT).any()):
        raise ModelError("the scorer gave NaN instead of a log-probability", advice="check its training log")
    real_BKT = before_BKT & (token_BKT != PAD)
    longest = int(real_BKT.sum(-1).max()) if real_BKT.numel() else 0
    real_BKT = real_BKT[..., :longest]
    token_BKT = torch.where(real_BKT, token_BKT[..., :longest], PAD)
    log_p_BKT = torch.where(real_BKT, log_p_BKT[..., :longest], 0.0)
    if score_BK is None:
        score_BK = torch.where(real_BKT.any(-1), log_p_BKT.sum(-1), NEG_INF)
    return Generated(token_BKT, log_p_BKT, score_BK)
