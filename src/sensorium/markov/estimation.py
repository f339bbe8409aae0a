"""Fit a hidden Markov model: Baum-Welch (Baum et al. 1970), and what it starts from.

Enters: frames of many sequences, end to end, and the sequences' lengths.  Leaves: the fitted model, and the
log-likelihood before each iteration, which never falls (pseudo-counts and floors aside).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.markov.inference import log_likelihoods, smooth, viterbi
from sensorium.markov.model import HMM, Emissions, Statistics
from sensorium.markov.packing import Packing
from sensorium.markov.recursion import Workspace

AnyEmissions = TypeVar("AnyEmissions", bound=Emissions)

CHUNK_VALUES = 1 << 21
"""Most numbers of one (frames, states) array at once: memory stays bounded."""

CACHED_VALUES, MANY_SEQUENCES = 1 << 18, 64
"""With so many sequences side by side, a step costs its arithmetic; more numbers would only leave the cache."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Expected counts of an E-step over some sequences."""

    log_likelihood: float
    num_impossible: int
    start_S: Tensor
    transition_SS: Tensor
    emissions: Statistics

    def __add__(self, other: Expected) -> Expected:
        """Add the counts of two sets of sequences."""
        return Expected(
            self.log_likelihood + other.log_likelihood,
            self.num_impossible + other.num_impossible,
            self.start_S + other.start_S,
            self.transition_SS + other.transition_SS,
            tuple(a + b for a, b in zip(self.emissions, other.emissions, strict=True)),
        )


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model.

    Attributes:
        hmm: the model.
        log_likelihoods: nats of all sequences before each iteration, and after the last.
        num_impossible: sequences that the model could not have made in the last E-step; they were left out.
    """

    hmm: HMM
    log_likelihoods: list[float]
    num_impossible: int


class Frames:
    """Sequences ready for many E-steps: packed once, in pieces of bounded size.

    Args:
        x: (N, ...) observations end to end.
        lengths: the sequences' lengths, which sum to N.
        num_states: S, by which the pieces are sized.

    Raises:
        DataError: no sequence, one of no frame, or lengths that do not sum to N.
    """

    def __init__(self, x: Tensor, lengths: Sequence[int], num_states: int = 1) -> None:
        if sum(lengths) != len(x):
            raise DataError(f"lengths sum to {sum(lengths)}, but there are {len(x)} frames")
        self.num_frames = len(x)
        self.num_sequences = len(lengths)
        self.workspace = Workspace()
        self._pieces = []
        first = 0
        for piece in _pieces(lengths, num_states):
            packing = Packing.of(piece, x.device)
            self._pieces.append((packing.pack(x[first : first + sum(piece)]), packing))
            first += sum(piece)

    def __iter__(self) -> Iterator[tuple[Tensor, Packing]]:
        return iter(self._pieces)


def _pieces(lengths: Sequence[int], num_states: int) -> Iterator[list[int]]:
    if not lengths:
        raise DataError("a hidden Markov model cannot be fitted to no sequences")
    piece: list[int] = []
    size = 0
    for length in lengths:
        values = (size + length) * num_states
        if piece and (values > CHUNK_VALUES or (values > CACHED_VALUES and len(piece) >= MANY_SEQUENCES)):
            yield piece
            piece, size = [], 0
        piece.append(length)
        size += length
    yield piece


def expected(hmm: HMM, frames: Frames) -> Expected:
    """Run the E-step.  A sequence that the model cannot have made is counted and says nothing else."""
    total: Expected | None = None
    workspace = frames.workspace
    for x, packing in frames:
        log_e_NS = hmm.emissions.log_p(x)
        smoothed = smooth(hmm.start_S, hmm.transition_SS, hmm.final_S, log_e_NS, packing, workspace)
        possible_B = smoothed.log_likelihood_B > -torch.inf
        part = Expected(
            float(smoothed.log_likelihood_B[possible_B].sum()),
            int((~possible_B).sum()),
            smoothed.start_S,
            smoothed.transition_SS,
            hmm.emissions.statistics(x, smoothed.gamma_NS),
        )
        total = part if total is None else total + part
    assert total is not None
    return total


def maximised(hmm: HMM, counts: Expected, pseudo_count: float = 0.0) -> HMM:
    """Run the M-step; `pseudo_count` is added to every start and transition that is possible."""
    return replace(
        hmm,
        start_S=_frequencies(counts.start_S[None], hmm.start_S[None], pseudo_count)[0],
        transition_SS=_frequencies(counts.transition_SS, hmm.transition_SS, pseudo_count),
        emissions=hmm.emissions.maximised(counts.emissions),
    )


def baum_welch(
    hmm: HMM,
    frames: Frames,
    *,
    iterations: int = 20,
    tolerance: float = 1e-4,
    pseudo_count: float = 0.0,
) -> Fit:
    """Alternate E- and M-steps until an iteration gains less than `tolerance` nats a frame.

    Raises:
        DataError: the starting model could have made none of the sequences.
    """
    values: list[float] = []
    for iteration in itertools.count():
        counts = expected(hmm, frames)
        if counts.num_impossible == frames.num_sequences:
            raise DataError(f"the model cannot have made any of {frames.num_sequences} sequences")
        values.append(counts.log_likelihood)
        converged = iteration > 0 and values[-1] - values[-2] < tolerance * frames.num_frames
        if iteration == iterations or converged:
            break
        hmm = maximised(hmm, counts, pseudo_count)
    return Fit(hmm, values, counts.num_impossible)


def score(hmm: HMM, frames: Frames) -> Tensor:
    """Return log P of each sequence, (B,)."""
    parts = [
        log_likelihoods(hmm.start_S, hmm.transition_SS, hmm.final_S, hmm.emissions.log_p(x), packing)
        for x, packing in frames
    ]
    return torch.cat(parts)


def decode(hmm: HMM, frames: Frames) -> tuple[Tensor, Tensor]:
    """Return the likeliest path's states, (N,) end to end, and its log P, (B,)."""
    paths, values = [], []
    for x, packing in frames:
        state_N, log_p_B = viterbi(hmm.start_S, hmm.transition_SS, hmm.final_S, hmm.emissions.log_p(x), packing)
        paths.append(packing.unpack(state_N))
        values.append(log_p_B)
    return torch.cat(paths), torch.cat(values)


def even_segments(lengths: Sequence[int], num_states: int) -> Tensor:
    """Cut every sequence into `num_states` equal parts: the state of each frame, (N,) int64 end to end."""
    parts = [torch.arange(length) * num_states // length for length in lengths]
    return torch.cat(parts)


def emissions_of(emissions: AnyEmissions, x: Tensor, state_N: Tensor) -> AnyEmissions:
    """Re-estimate emissions from frames whose states are given."""
    gamma_NS = torch.nn.functional.one_hot(state_N, emissions.num_states).double()
    return emissions.maximised(emissions.statistics(x, gamma_NS))


def _frequencies(count_SS: Tensor, old_SS: Tensor, pseudo_count: float) -> Tensor:
    count_SS = count_SS + pseudo_count * (old_SS > 0)
    total_S1 = count_SS.sum(1, keepdim=True)
    return torch.where(total_S1 > 0, count_SS / total_S1.clamp_min(1e-300), old_SS)
