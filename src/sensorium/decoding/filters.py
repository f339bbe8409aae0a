"""Filters change log p(next) before the search chooses: penalties, prohibitions, minimum length.

Enters: log p (N, V) of N paths and their tokens so far.  Leaves: (N, V), no longer normalised.
A filter that remembers something keeps it in a state like a scorer's, a pytree of tensors with
paths first, which `generate` reorders together with the scorer's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from sensorium.core.errors import UsageError
from sensorium.core.logspace import NEG_INF
from sensorium.core.vocabulary import EOS, UNK


class Filter(Protocol):
    """A change of log p(next) that depends on the path so far."""

    def start(self, num_rows: int, device: torch.device) -> Any:
        """Return the state of `num_rows` empty paths; () where nothing is remembered."""
        ...

    def apply(self, log_p_NV: Tensor, state: Any, token_NT: Tensor) -> tuple[Tensor, Any]:
        """Return the changed log p and the state after token_NT[:, -1]; never changes `log_p_NV` itself.

        token_NT is (N, t): all tokens chosen so far, without BOS; t = 0 at the first call.
        """
        ...


class _Stateless:
    """The half of a filter that needs nothing but the path itself."""

    def start(self, num_rows: int, device: torch.device) -> tuple[()]:
        """Remember nothing."""
        return ()


@dataclass(frozen=True)
class RepetitionPenalty(_Stateless):
    """Multiply log p of every token already in the path by `penalty` (> 1 makes it less likely).

    CTRL (Keskar et al. 2019, arXiv 1909.05858, section 4.1), on log p as the peers do in beam search.
    EOS is never in a path that goes on, so ending is not penalised.

    Raises:
        UsageError: penalty <= 0.
    """

    penalty: float

    def __post_init__(self) -> None:
        if not self.penalty > 0:
            raise UsageError(f"repetition penalty {self.penalty} is not positive")

    def apply(self, log_p_NV: Tensor, state: Any, token_NT: Tensor) -> tuple[Tensor, Any]:
        """Penalise each seen token once, however often it came."""
        return log_p_NV.scatter(1, token_NT, log_p_NV.gather(1, token_NT) * self.penalty), state


@dataclass(frozen=True)
class NoRepeatNgram(_Stateless):
    """Forbid every token that would complete an n-gram which the path already has (Paulus et al. 2017).

    Raises:
        UsageError: size < 1.
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"n-gram size {self.size} is below 1")

    def apply(self, log_p_NV: Tensor, state: Any, token_NT: Tensor) -> tuple[Tensor, Any]:
        """Compare the last size - 1 tokens with every earlier window, and forbid what followed it."""
        context = self.size - 1
        if token_NT.shape[1] < self.size:
            return log_p_NV, state
        window_NWS = token_NT.unfold(1, self.size, 1)
        last_N1S = token_NT[:, None, token_NT.shape[1] - context :]
        same_NW = (window_NWS[..., :context] == last_N1S).all(-1)
        follower_NW = window_NWS[..., context]
        # amin, because one follower may stand behind both a matching and another window.
        ban_NW = torch.where(same_NW, NEG_INF, 0.0).to(log_p_NV.dtype)
        ban_NV = torch.zeros_like(log_p_NV).scatter_reduce(1, follower_NW, ban_NW, "amin")
        return log_p_NV + ban_NV, state


class ForbiddenTokens(_Stateless):
    """Forbid some tokens everywhere; by default the unknown word."""

    def __init__(self, tokens: Sequence[int] = (UNK,)) -> None:
        self._token_F = torch.tensor(tokens, dtype=torch.long)

    def apply(self, log_p_NV: Tensor, state: Any, token_NT: Tensor) -> tuple[Tensor, Any]:
        """Set their log p to -inf."""
        return log_p_NV.index_fill(1, self._token_F.to(log_p_NV.device), NEG_INF), state


@dataclass(frozen=True)
class MinLength(_Stateless):
    """Forbid EOS until the text has `num_tokens` tokens (EOS not counted)."""

    num_tokens: int

    def apply(self, log_p_NV: Tensor, state: Any, token_NT: Tensor) -> tuple[Tensor, Any]:
        """Set log p of EOS to -inf while the path is too short."""
        if token_NT.shape[1] >= self.num_tokens:
            return log_p_NV, state
        longer_NV = log_p_NV.clone()
        longer_NV[:, EOS] = NEG_INF
        return longer_NV, state
