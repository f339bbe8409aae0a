"""The hybrid: a neural network's frame posteriors, divided by priors, as the emissions of word models.

    p(x_t | s)  ~  p(s | x_t) / p(s)                   (Bourlard and Morgan 1994, chapter 7)

Enters: aligned frames (`WordModels.align`) and a network that gives each frame a logit a state.  Leaves: scaled
log-likelihoods, which word models read like any others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from sensorium.core.errors import DataError

_IGNORE = -1


class HybridEmissions(nn.Module):
    """A frame classifier and the priors of its classes.

    Args:
        network: maps frames (U, T, F) and their mask (U, T) to logits (U, T, X), one a frame.
        num_states: X.

    Attributes:
        log_prior_X: (X,) log share of each state among the aligned frames.
    """

    log_prior_X: Tensor

    def __init__(self, network: nn.Module, num_states: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("log_prior_X", torch.full((num_states,), 1 / num_states).log())

    def count_priors(self, state_N: Tensor) -> None:
        """Set the priors to the states' shares, each state counted once more; -1 is no state.

        Raises:
            DataError: no frame has a state.
        """
        known_N = state_N[state_N >= 0]
        if not len(known_N):
            raise DataError("no frame is aligned to a state: the sequences are too short for their words")
        count_X = torch.bincount(known_N, minlength=len(self.log_prior_X)).float() + 1
        self.log_prior_X = (count_X / count_X.sum()).log().to(self.log_prior_X)

    def loss(self, x_UTF: Tensor, mask_UT: Tensor, state_UT: Tensor) -> Tensor:
        """Return the mean cross-entropy of aligned frames, (); -1 is no state."""
        logits_UTX = self.network(x_UTF, mask_UT)
        target_UT = torch.where(mask_UT, state_UT, _IGNORE)
        return cross_entropy(logits_UTX.flatten(0, 1), target_UT.flatten(), ignore_index=_IGNORE)

    def forward(self, x_UTF: Tensor, mask_UT: Tensor) -> Tensor:
        """Return log p(state | frame) - log p(state), (U, T, X)."""
        log_posterior_UTX: Tensor = self.network(x_UTF, mask_UT).log_softmax(-1)
        return log_posterior_UTX - self.log_prior_X

    @torch.no_grad()
    def log_e(self, sequences: Sequence[Tensor], batch_rows: int = 64) -> Tensor:
        """Return scaled log-likelihoods (N, X) float64 of the frames of all sequences, end to end."""
        self.eval()
        rows = []
        for first in range(0, len(sequences), batch_rows):
            x_UTF, mask_UT = _padded(sequences[first : first + batch_rows])
            rows.append(self(x_UTF, mask_UT)[mask_UT].double())
        return torch.cat(rows)


def fit_hybrid(
    hybrid: HybridEmissions,
    sequences: Sequence[Tensor],
    state_N: Tensor,
    *,
    epochs: int,
    batch_rows: int = 32,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> list[float]:
    """Train the network to name the state of each frame; returns each epoch's mean loss.

    Args:
        hybrid: trained in place.
        sequences: (T, F) frames each.
        state_N: (N,) aligned states, end to end; -1 is no state.
        epochs: passes over the sequences; the learning rate falls to zero along a cosine.
        batch_rows: sequences of a step.
        learning_rate: of AdamW, at the beginning.
        seed: of the order.
    """
    hybrid.count_priors(state_N)
    states = torch.split_with_sizes(state_N, [len(x_TF) for x_TF in sequences])
    optimiser = torch.optim.AdamW(hybrid.parameters(), lr=learning_rate, weight_decay=0.01)
    steps = epochs * -(-len(sequences) // batch_rows)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator, losses = torch.Generator().manual_seed(seed), []
    hybrid.train()
    for _ in range(epochs):
        total = 0.0
        for rows in _batches(len(sequences), batch_rows, generator):
            x_UTF, mask_UT = _padded([sequences[i] for i in rows])
            state_UT = pad_sequence([states[i] for i in rows], batch_first=True, padding_value=_IGNORE)
            loss = hybrid.loss(x_UTF, mask_UT, state_UT)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        losses.append(total / len(sequences))
    return losses


def _batches(num: int, batch_rows: int, generator: torch.Generator) -> Iterator[list[int]]:
    order: list[int] = torch.randperm(num, generator=generator).tolist()
    return (order[first : first + batch_rows] for first in range(0, num, batch_rows))


def _padded(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    length_U = torch.tensor([len(x_TF) for x_TF in sequences])
    return pad_sequence(list(sequences), batch_first=True), torch.arange(int(length_U.max())) < length_U[:, None]
