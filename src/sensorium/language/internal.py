"""A neural scorer without the language that it has learned by itself: p(w | D) / p(w)^s, normalised.

Enters: a scorer that conditions on something, and a share s.  Leaves: a scorer.
A decoder trained on captions knows both what its photos show and how captions go. Beside a language model
counted on much more text, or on text of another kind, the second is counted twice; what the decoder says with
nothing to look at is its *internal language model*, and is divided out to the power s:

    log p'(w | h, D) = log p(w | h, D) - s log p(w | h) - log Z

Sources: McDermott et al. 2019, "A density ratio approach to language model fusion"; Meng et al. 2021, "Internal
language model estimation for domain-adaptive end-to-end speech recognition", section 3, where, as here, the
internal model is the decoder with its conditioning taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.core.errors import ModelError
from sensorium.core.logspace import log_normalise
from sensorium.core.protocols import Scorer
from sensorium.core.types import Conditioning
from sensorium.language.parts import Scored, unroll

GRID = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


class WithoutInternal(nn.Module):
    """Score as `part` does, with a share of its internal language divided out.

    In training the part is trained as it is.
    """

    share_: Tensor

    def __init__(self, part: Scorer, share: float = 0.0) -> None:
        super().__init__()
        self.part: Any = part
        self.vocab, self.fitted_by = part.vocab, part.fitted_by
        self.register_buffer("share_", torch.tensor(0.0))
        self.set_share(share)

    @property
    def share(self) -> float:
        """Return s."""
        return float(self.share_)

    def set_share(self, share: float) -> Self:
        """Fix s.  Raises ModelError: not within 0..1."""
        if not 0 <= share <= 1:
            raise ModelError(f"a share of the internal language is 0 to 1, not {share}")
        self.share_.fill_(share)
        return self

    def start(self, cond: Conditioning) -> tuple[Any, Any]:
        """Begin B rows, with the conditioning and, if a share is divided out, without."""
        return self.part.start(cond), self.part.start(_nothing(cond)) if self.share else ()

    def extend(self, state: tuple[Any, Any], token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, tuple[Any, Any]]:
        """Feed T tokens; returns log p(next) (B, V) and the new state."""
        log_p_BV, seeing = self.part.extend(state[0], token_BT, mask_BT)
        if state[1] == ():
            return log_p_BV, (seeing, ())
        internal_BV, blind = self.part.extend(state[1], token_BT, mask_BT)
        return self._divided(log_p_BV, internal_BV), (seeing, blind)

    def unroll(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(next) after each position, (B, T, V)."""
        log_p_BTV = unroll(self.part, token_BT, mask_BT, cond)
        if not self.share:
            return log_p_BTV
        return self._divided(log_p_BTV, unroll(self.part, token_BT, mask_BT, _nothing(cond)))

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t, cond), (B, T); the part's own while it is trained."""
        if self.training or not self.share or token_BT.shape[1] == 1:
            own_BT: Tensor = self.part.score(token_BT, mask_BT, cond)
            return own_BT
        log_p_BTV = self.unroll(token_BT[:, :-1], mask_BT[:, :-1], cond)
        log_p_BT = log_p_BTV.gather(2, token_BT[:, 1:, None])[..., 0]
        return F.pad(torch.where(mask_BT[:, 1:], log_p_BT, 0.0), (1, 0))

    def _divided(self, log_p: Tensor, internal: Tensor) -> Tensor:
        possible = internal > -torch.inf
        return log_normalise(torch.where(possible, log_p - self.share_ * internal.where(possible, 0.0), log_p))


def fit_shares(
    parts: Sequence[WithoutInternal], held_out: Iterable[Scored], fit_and_value: Callable[[list[Scored]], float]
) -> list[float]:
    """Set each part's share to the one of `GRID` under which held-out rows are likeliest, part by part.

    Args:
        held_out: token_BT, mask_BT, cond; read into memory.
        fit_and_value: fits everything else on the rows and returns their mean log-likelihood.
    """
    rows = list(held_out)
    for part in parts:
        values = {share: _value(part, share, rows, fit_and_value) for share in GRID}
        part.set_share(max(GRID, key=lambda share: values[share]))
    fit_and_value(rows)
    return [part.share for part in parts]


def _value(
    part: WithoutInternal, share: float, rows: list[Scored], fit_and_value: Callable[[list[Scored]], float]
) -> float:
    part.set_share(share)
    return fit_and_value(rows)


def _nothing(cond: Conditioning) -> Conditioning:
    memory = cond.memory.x_BTD
    return Conditioning.empty(cond.num_rows, memory.shape[-1], memory.device)
