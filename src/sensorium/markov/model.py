"""The hidden Markov model itself: a chain of S states and what each emits.

    P(x_1..x_T) = sum over s_1..s_T of  start[s_1] prod_t transition[s_t-1, s_t] p(x_t | s_t) final[s_T]

Source: Rabiner 1989, "A tutorial on hidden Markov models", with weights of the last state added, so that a
word model can be asked to end where the word ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from sensorium.core.errors import ModelError

Statistics = tuple[Tensor, ...]
"""Sums over frames: those of two sets of frames are added entry by entry."""


class Emissions(Protocol):
    """What states emit; `x_N...` are N observations, ids or vectors."""

    @property
    def num_states(self) -> int:
        """Count the states S."""
        ...

    def log_p(self, x: Tensor) -> Tensor:
        """Return log p(x_n | state), (N, S)."""
        ...

    def statistics(self, x: Tensor, gamma_NS: Tensor) -> Statistics:
        """Sum what `maximised` needs over frames, frame n counting gamma_NS[n, s] times for state s."""
        ...

    def maximised(self, statistics: Statistics) -> Self:
        """Return the emissions that make the summed frames likeliest; a state without frames stays."""
        ...


@dataclass(frozen=True, slots=True)
class HMM:
    """A chain and its emissions.

    Attributes:
        start_S: (S,) probability of the first state.
        transition_SS: (S, S) probability of the next state; rows sum to 1.
        emissions: what the states emit.
        final_S: (S,) weight of the last state; None = all 1.
    """

    start_S: Tensor
    transition_SS: Tensor
    emissions: Any
    final_S: Tensor | None = None

    def __post_init__(self) -> None:
        num = self.num_states
        if self.transition_SS.shape != (num, num) or self.emissions.num_states != num:
            raise ModelError(
                f"{num} start probabilities, transitions {tuple(self.transition_SS.shape)} and "
                f"{self.emissions.num_states} emitting states do not make one chain"
            )

    @property
    def num_states(self) -> int:
        """Count the states S."""
        return len(self.start_S)


def ergodic(num_states: int, seed: int = 0, stay: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return start (S,) and transitions (S, S) in which every state follows every state.

    Args:
        num_states: S.
        seed: of the small random differences that let states become different.
        stay: probability added to staying, before rows are normalised.
    """
    generator = torch.Generator().manual_seed(seed)
    random_SS = 1 + 0.2 * torch.rand(num_states + 1, num_states, generator=generator, dtype=torch.float64)
    random_SS = random_SS / random_SS.sum(1, keepdim=True)
    transition_SS = (1 - stay) * random_SS[1:] + stay * torch.eye(num_states, dtype=torch.float64)
    return random_SS[0], transition_SS


def left_to_right(num_states: int, *, stay: float = 0.6, skips: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return start, transitions and final of a chain that is passed from its first state to its last (Bakis 1976).

    Args:
        num_states: S.
        stay: probability of staying in a state for another frame.
        skips: how many states a step may leap over.
    """
    step_SS = torch.arange(num_states) - torch.arange(num_states)[:, None]
    forward_SS = ((step_SS > 0) & (step_SS <= skips + 1)).double()
    share_SS = forward_SS / forward_SS.sum(1, keepdim=True).clamp_min(1)
    transition_SS = (1 - stay) * share_SS + stay * torch.eye(num_states, dtype=torch.float64)
    start_S, final_S = torch.eye(num_states, dtype=torch.float64)[[0, -1]]
    return start_S, transition_SS / transition_SS.sum(1, keepdim=True), final_S
