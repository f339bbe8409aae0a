"""The log-linear product: P(w) = prod_k P_k(w)^{w_k} / Z, a scorer made of scorers.

Enters: scorers over one vocabulary and their exponents.  Leaves: a scorer, renormalised over the
vocabulary.  Where a mixture lets any part vouch for a word, a product lets any part veto it.
Sources: Hinton 2002, "Training products of experts"; Klakow 1998, "Log-linear interpolation of
language models".
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from sensorium.core.protocols import Scorer
from sensorium.core.types import Conditioning
from sensorium.language.parts import Parts, Scored, checked_weights, of_targets
from sensorium.language.product_weights import fit_product_weights, log_product
from sensorium.language.shares import Shares, product_shares

_MOST_NUMBERS = 1 << 26  # log-probabilities kept in memory while exponents are fitted: 256 MiB

log = logging.getLogger(__name__)


class Product(nn.Module):
    """Multiply what the parts say, each to the power of its weight; 1/K each until set or fitted.

    Weights need not sum to 1: more makes the product surer than its parts, less makes it less sure.
    A part of weight 0 is not heard, whatever it says.

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
        self.set_weights([1 / len(parts)] * len(parts))

    @property
    def weights(self) -> list[float]:
        """Return the parts' exponents."""
        exponents: list[float] = self.log_weight_K.exp().tolist()
        return exponents

    def set_weights(self, weights: Sequence[float]) -> Self:
        """Fix the exponents.  Raises ModelError."""
        self.log_weight_K.copy_(checked_weights(weights, len(self.parts)).log())
        return self

    @torch.no_grad()
    def fit_weights(self, held_out: Iterable[Scored]) -> list[float]:
        """Fit the exponents on held-out (token_BT, mask_BT, cond); returns them.

        As many tokens are read as fit into 256 MiB of log-probabilities; the log says how many.  Rows that a part
        rules out (a text that CTC's frames cannot spell) are left out; a part that rules out more than half of the
        rows is not heard instead.

        Raises:
            DataError: no held-out token.
        """
        log_p, targets, ruled_out = [], [], []
        room = _MOST_NUMBERS // (len(self.parts) * len(self.vocab))
        for token_BT, mask_BT, cond in held_out:
            if room <= 0:
                break
            predicted_BT = mask_BT[:, 1:]
            log_p_KBTV = self.parts.unroll(token_BT[:, :-1], mask_BT[:, :-1], cond)
            log_p.append(log_p_KBTV[:, predicted_BT].float().cpu())
            del log_p_KBTV  # two of them at once are more than all that is kept
            targets.append(token_BT[:, 1:][predicted_BT].cpu())
            ruled_out.append(_by_row(log_p[-1], targets[-1], predicted_BT.cpu()))
            room -= int(targets[-1].numel())
        token_N = torch.cat([torch.empty(0, dtype=torch.int64), *targets])
        is_kept_N = _possible(ruled_out)
        kept = is_kept_N.split([piece.shape[1] for piece in log_p])
        log_p = [piece if is_kept.all() else piece[:, is_kept] for piece, is_kept in zip(log_p, kept, strict=True)]
        log_p_KNV = torch.cat([torch.empty(len(self.parts), 0, len(self.vocab)), *log_p], 1)
        del log_p
        token_N = token_N[is_kept_N]
        log.info("fitting %d exponents on %d held-out tokens", len(self.parts), len(token_N))
        self.set_weights(fit_product_weights(log_p_KNV, token_N).tolist())
        return self.weights

    def start(self, cond: Conditioning) -> tuple[Any, ...]:
        """Begin B rows."""
        return self.parts.start(cond)

    def extend(self, state: tuple[Any, ...], token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        """Feed T tokens; returns log p(next) (B, V) and the new state.

        Where the parts have no word in common, every word has -inf.
        """
        log_p_KBV, state = self.parts.advance(state, token_BT, mask_BT)
        return log_product(torch.stack(log_p_KBV), self.log_weight_K.exp()), state

    def score_parts(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return each part's own log p of each token, (K, B, T)."""
        return self.parts.score(token_BT, mask_BT, cond)

    def shares(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Shares:
        """Return what each part has to do with each token."""
        log_p_KBTV, weight_K = self.parts.unroll(token_BT[:, :-1], mask_BT[:, :-1], cond), self.log_weight_K.exp()
        together_BT = of_targets(self._multiplied(log_p_KBTV), token_BT, mask_BT)
        return product_shares(of_targets(log_p_KBTV, token_BT, mask_BT), weight_K, together_BT)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t, cond), (B, T); Z needs every word at every position."""
        if token_BT.shape[1] == 1:
            return torch.zeros_like(token_BT, dtype=torch.float32)
        log_p_KBTV = self.parts.unroll(token_BT[:, :-1], mask_BT[:, :-1], cond)
        return of_targets(self._multiplied(log_p_KBTV), token_BT, mask_BT)

    def _multiplied(self, log_p_KBTV: Tensor) -> Tensor:
        mixed_NV = log_product(log_p_KBTV.flatten(1, 2), self.log_weight_K.exp())
        return mixed_NV.view(log_p_KBTV.shape[1:])


def _by_row(log_p_KNV: Tensor, token_N: Tensor, predicted_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return which rows each part rules out, (K, B), and each token's row, (N,)."""
    row_N = predicted_BT.nonzero()[:, 0]
    is_ruled_out_KN = log_p_KNV.gather(2, token_N.expand(len(log_p_KNV), -1)[..., None]).squeeze(2) == -torch.inf
    shape = (len(log_p_KNV), len(predicted_BT))
    counted_KB = torch.zeros(shape, dtype=torch.int64).index_add_(1, row_N, is_ruled_out_KN.long())
    return counted_KB > 0, row_N


def _possible(ruled_out: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Say which tokens are of rows that no part rules out, (N,); one that rules out most of them has no say."""
    if not ruled_out:
        return torch.zeros(0, dtype=torch.bool)
    each_KB = torch.cat([ruled_out_KB for ruled_out_KB, _ in ruled_out], 1)
    is_heard_K = each_KB.double().mean(1) <= 0.5
    is_out_B = each_KB[is_heard_K].any(0)
    if bool(is_out_B.any()):
        log.warning(
            "exponents: %d of %d held-out rows have a text that a part rules out (more tokens than its frames can "
            "spell); they are left out",
            int(is_out_B.sum()), len(is_out_B),
        )  # fmt: skip
    pieces = torch.split(is_out_B, [ruled_out_KB.shape[1] for ruled_out_KB, _ in ruled_out])
    return ~torch.cat([out_B[row_N] for out_B, (_, row_N) in zip(pieces, ruled_out, strict=True)])
