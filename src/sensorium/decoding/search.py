"""Paths that do not compete: greedy search, one a row, and sampling.

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

    def begin(self, row_id_B: Tensor, max_tokens: int) -> Paths:
        """Begin one empty path for each row, on the device of `row_id_B`, the rows' own numbers (B,) int64.

        A search that draws goes by these numbers, so that what it draws for a row is the same in any batch.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """Choose the likeliest token at every step."""

    @classmethod
    def from_config(cls, _config: DecodingConfig, /) -> Self:
        """Greedy search has no settings."""
        return cls()

    def begin(self, row_id_B: Tensor, max_tokens: int) -> Paths:
        """Begin one empty path for each row."""
        return _SteadyPaths(lambda choice_BV, _: choice_BV.argmax(-1), len(row_id_B), max_tokens, row_id_B.device)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Draw tokens at random: temperature first, then the k likeliest, then the nucleus of mass p.

    A row draws from a stream of its own, seeded by (seed, its number), so its text does not depend on which
    rows stand beside it, nor on its place among them, nor on the device.

    Args:
        temperature: divides log p; > 0, and 1 leaves it as it is.
        top_k: how many of the likeliest tokens to draw from; 0 = all.
        top_p: draw from the fewest likeliest tokens whose mass reaches this; 1 = all.
        seed: of all rows' streams.
        draws: texts a row, each from a stream of its own; the first is the one that is drawn alone.

    Raises:
        UsageError: a setting out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    draws: int = 1

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and self.top_k >= 0 and 0 < self.top_p <= 1 and self.seed >= 0):
            raise UsageError(f"{self} is out of range", advice="temperature > 0, top_k >= 0, 0 < top_p <= 1")
        if self.draws < 1:
            raise UsageError(f"{self} draws nothing", advice="draws >= 1")

    @classmethod
    def from_config(cls, config: DecodingConfig, /) -> Self:
        """Take temperature, top_k, top_p and seed."""
        return cls(temperature=config.temperature, top_k=config.top_k, top_p=config.top_p, seed=config.seed)

    def begin(self, row_id_B: Tensor, max_tokens: int) -> Paths:
        """Begin one empty path for each row, and draw its uniform numbers in advance."""
        num_rows, device = len(row_id_B), row_id_B.device
        seeds = [
            (self.seed, row, *((draw,) if draw else ())) for row in row_id_B.tolist() for draw in range(self.draws)
        ]
        streams = [np.random.default_rng(seed).random(max_tokens) for seed in seeds]
        uniform_NT = torch.from_numpy(np.stack(streams) if streams else np.zeros((0, max_tokens))).to(device)
        return _SteadyPaths(
            lambda choice_NV, step: self.draw(choice_NV, uniform_NT[:, step]),
            num_rows,
            max_tokens,
            device,
            paths_a_row=self.draws,
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


class _SteadyPaths:
    """Paths that stay in their rows, after the first step has made several of each; what a path chooses after its
    end is cleared in the result."""

    def __init__(
        self,
        choose: Callable[[Tensor, int], Tensor],
        num_rows: int,
        max_tokens: int,
        device: torch.device,
        *,
        paths_a_row: int = 1,
    ) -> None:
        num_paths = num_rows * paths_a_row
        self._choose = choose
        self._paths_a_row = paths_a_row
        self._token_NT = torch.full((num_paths, max_tokens), PAD, device=device)
        self._log_p_NT = torch.zeros(num_paths, max_tokens, device=device)
        self._ended_N = torch.zeros(num_paths, dtype=torch.bool, device=device)
        self._length = 0

    @property
    def token_NT(self) -> Tensor:
        return self._token_NT[:, : self._length]

    def step(self, log_p_NV: Tensor, choice_NV: Tensor) -> Tensor | None:
        row_N = None
        if self._length == 0 and self._paths_a_row > 1:
            row_N = torch.arange(len(log_p_NV), device=log_p_NV.device).repeat_interleave(self._paths_a_row)
            log_p_NV, choice_NV = log_p_NV[row_N], choice_NV[row_N]
        token_N = self._choose(choice_NV, self._length)
        self._token_NT[:, self._length] = token_N
        self._log_p_NT[:, self._length] = log_p_NV.gather(1, token_N[:, None]).squeeze(1)
        # EOS ends a text; PAD is chosen only where nothing else is possible (both are below the ordinary ids).
        self._ended_N |= token_N <= EOS
        self._length += 1
        return row_N

    def done(self) -> bool:
        return bool(self._ended_N.all())

    def result(self) -> Generated:
        shape = (len(self._token_NT) // self._paths_a_row, self._paths_a_row, self._token_NT.shape[1])
        return trimmed(self._token_NT.view(shape), self._log_p_NT.view(shape))
