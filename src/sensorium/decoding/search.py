"""One path a row: greedy and sampling.

Enters: log p(next) for each path, step by step.  Leaves: the chosen tokens.
Top-k is of Fan et al. 2018 (arXiv 1805.04833), top-p of Holtzman et al. 2020 (arXiv 1904.09751).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from sensorium.core.errors import UsageError
from sensorium.core.vocabulary import EOS, PAD
from sensorium.decoding.generated import Generated, trimmed

if TYPE_CHECKING:
    from sensorium.decoding.config import DecodingConfig


class Paths(Protocol):
    """The hypotheses of one call of `generate`: N of them, N a multiple of the B rows."""

    @property
    def token_NT(self) -> Tensor:
        """Return the tokens chosen so far, (N, t) int64."""
        ...

    def step(self, log_p_NV: Tensor, choice_NV: Tensor) -> Tensor | None:
        """Choose the next tokens by `choice_NV`, which is the scorer's `log_p_NV` after the filters.

        Returns (N',) int64, the old path that each new one continues, or None where they stay in place.
        """
        ...

    def done(self) -> bool:
        """Say whether no further token can change the result."""
        ...

    def result(self) -> Generated:
        """Return the texts found."""
        ...


class Search(Protocol):
    """A way to choose tokens; holds settings only, so that one serves many calls."""

    @classmethod
    def from_config(cls, config: DecodingConfig, /) -> Self:
        """Take from `config` what concerns this search."""
        ...

    def begin(self, num_rows: int, max_tokens: int, device: torch.device) -> Paths:
        """Begin one empty path for each row."""
        ...


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """Choose the likeliest token at every step."""

    @classmethod
    def from_config(cls, _config: DecodingConfig, /) -> Self:
        """Greedy search has no settings."""
        return cls()

    def begin(self, num_rows: int, max_tokens: int, device: torch.device) -> Paths:
        """Begin one empty path for each row."""
        return _OnePathARow(lambda choice_BV, _: choice_BV.argmax(-1), num_rows, max_tokens, device)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Draw tokens at random: temperature first, then the k likeliest, then the nucleus of mass p.

    Row b draws from a stream of its own, seeded by (seed, b), so its text does not depend on how
    many rows stand beside it, nor on the device.

    Args:
        temperature: divides log p; > 0, and 1 leaves it as it is.
        top_k: how many of the likeliest tokens to draw from; 0 = all.
        top_p: draw from the fewest likeliest tokens whose mass reaches this; 1 = all.
        seed: of all rows' streams.

    Raises:
        UsageError: a setting out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and self.top_k >= 0 and 0 < self.top_p <= 1 and self.seed >= 0):
            raise UsageError(f"{self} is out of range", advice="temperature > 0, top_k >= 0, 0 < top_p <= 1")

    @classmethod
    def from_config(cls, config: DecodingConfig, /) -> Self:
        """Take temperature, top_k, top_p and seed."""
        return cls(temperature=config.temperature, top_k=config.top_k, top_p=config.top_p, seed=config.seed)

    def begin(self, num_rows: int, max_tokens: int, device: torch.device) -> Paths:
        """Begin one empty path for each row, and draw its uniform numbers in advance."""
        streams = [np.random.default_rng((self.seed, row)).random(max_tokens) for row in range(num_rows)]
        uniform_BT = torch.from_numpy(np.stack(streams) if streams else np.zeros((0, max_tokens))).to(device)
        return _OnePathARow(
            lambda choice_BV, step: self.draw(choice_BV, uniform_BT[:, step]), num_rows, max_tokens, device
        )

    def draw(self, log_p_BV: Tensor, uniform_B: Tensor) -> Tensor:
        """Invert the cumulative distribution at `uniform_B` (float64 in [0, 1)); PAD where no mass is.

        log_p_BV need not be normalised.  Returns (B,) int64.
        """
        mass_BK, token_BK = self._support(log_p_BV)
        cumulative_BK = mass_BK.cumsum(-1)
        # `right`: the first token whose cumulative mass exceeds u, so that one without mass is never drawn.
        index_B1 = torch.searchsorted(cumulative_BK, uniform_B[:, None] * cumulative_BK[:, -1:], right=True)
        index_B1 = index_B1.clamp_max(mass_BK.shape[1] - 1)
        token_B = (index_B1 if token_BK is None else token_BK.gather(1, index_B1)).squeeze(1)
        return torch.where(cumulative_BK[:, -1] > 0, token_B, PAD)

    def _support(self, log_p_BV: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the tokens to draw from and their mass, (B, K) float64; tokens None = all in order."""
        scaled_BV = log_p_BV.double() / self.temperature
        top_B1 = scaled_BV.amax(-1, keepdim=True).clamp_min(torch.finfo(torch.float64).min)
        mass_BV = (scaled_BV - top_B1).exp()
        if not self.top_k and self.top_p == 1:
            return mass_BV, None
        mass_BK, token_BK = mass_BV.topk(min(self.top_k or mass_BV.shape[1], mass_BV.shape[1]))
        if self.top_p < 1:
            before_BK = mass_BK.cumsum(-1) - mass_BK
            mass_BK = mass_BK.where(before_BK < self.top_p * mass_BK.sum(-1, keepdim=True), 0)
        return mass_BK, token_BK


class _OnePathARow:
    """Paths that stay in their rows; what a row chooses after its end is cleared in the result."""

    def __init__(
        self, choose: Callable[[Tensor, int], Tensor], num_rows: int, max_tokens: int, device: torch.device
    ) -> None:
        self._choose = choose
        self._token_BT = torch.full((num_rows, max_tokens), PAD, device=device)
        self._log_p_BT = torch.zeros(num_rows, max_tokens, device=device)
        self._ended_B = torch.zeros(num_rows, dtype=torch.bool, device=device)
        self._length = 0

    @property
    def token_NT(self) -> Tensor:
        return self._token_BT[:, : self._length]

    def step(self, log_p_NV: Tensor, choice_NV: Tensor) -> None:
        token_B = self._choose(choice_NV, self._length)
        self._token_BT[:, self._length] = token_B
        self._log_p_BT[:, self._length] = log_p_NV.gather(1, token_B[:, None]).squeeze(1)
        # EOS ends a text; PAD is chosen only where nothing else is possible (both are below the ordinary ids).
        self._ended_B |= token_B <= EOS
        self._length += 1

    def done(self) -> bool:
        return bool(self._ended_B.all())

    def result(self) -> Generated:
        return trimmed(self._token_BT[:, None], self._log_p_BT[:, None])
