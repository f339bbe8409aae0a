"""The HMM scorer: each token is emitted by a hidden state, and the states are a Markov chain.

Enters: tokens.  Leaves: log p(next), from expected counts alone; it does not look at the conditioning.
A state of the scorer is p(next hidden state | tokens so far), the filtered posterior moved on by a step:

    p(w | before) = sum_s q(s) emission[s, w]       q'(r) ~ sum_s q(s) emission[s, w] transition[s, r]

Source: Rabiner 1989.  Estimation: `sensorium.markov.estimation`, from the tokens after BOS up to EOS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.errors import DataError
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, PAD, Vocab
from sensorium.markov.emissions import Categorical
from sensorium.markov.estimation import Frames, baum_welch
from sensorium.markov.model import HMM, ergodic


@dataclass(frozen=True, slots=True)
class HiddenState:
    """p(next hidden state | tokens so far), (B, S)."""

    q_BS: Tensor


class HiddenMarkov(nn.Module):
    """Score words by a discrete HMM; all words alike before `fit`.

    Attributes:
        start_: (S,) probability of the state of the first token after BOS.
        transition_: (S, S).
        emission_: (V, S) p(token | state); columns sum to 1, PAD and BOS have 0.
        log_likelihood_: () nats a token of what was fitted, at the end of fitting; -inf before.
    """

    fitted_by = "counting"

    class Config(Section):
        """How many states there are, and how they are fitted."""

        states: int = Field(32, ge=1, le=4096)
        iterations: int = Field(50, ge=1, le=10_000)
        """The most iterations of EM."""
        tolerance: float = Field(1e-4, ge=0.0)
        """EM stops when an iteration gains less nats a token."""
        pseudo_count: float = Field(0.01, gt=0.0, le=1e6)
        """Added to every expected count, so that whatever was not seen stays possible."""
        seed: int = Field(0, ge=0)
        """Of the small differences that EM starts from."""

    start_: Tensor
    transition_: Tensor
    emission_: Tensor
    log_likelihood_: Tensor

    def __init__(self, config: Config, vocab: Vocab, width: int) -> None:
        super().__init__()
        self.config, self.vocab = config, vocab
        num_states, can_stand_V = config.states, _emitted(vocab)
        self.register_buffer("start_", torch.full((num_states,), 1 / num_states))
        self.register_buffer("transition_", torch.full((num_states, num_states), 1 / num_states))
        self.register_buffer("emission_", (can_stand_V / can_stand_V.sum())[:, None].repeat(1, num_states))
        self.register_buffer("log_likelihood_", torch.tensor(-torch.inf))

    def fit(self, sequences: Iterable[Sequence[int]]) -> Self:
        """Fit to `sequences`, each from BOS to EOS, by EM.

        Raises:
            DataError: no sequence, or one that is no such sequence over this vocabulary.
        """
        rows = [_body(sequence, number, len(self.vocab)) for number, sequence in enumerate(sequences)]
        if not rows:
            raise DataError("a hidden Markov model cannot be fitted to no sequences")
        device = self.start_.device
        token_N = torch.cat(rows).to(device)
        frames = Frames(token_N, [len(row) for row in rows], self.config.states)
        fit = baum_welch(
            self._begun(token_N),
            frames,
            iterations=self.config.iterations,
            tolerance=self.config.tolerance,
            pseudo_count=self.config.pseudo_count,
        )
        self.start_ = fit.hmm.start_S.float()
        self.transition_ = fit.hmm.transition_SS.float()
        self.emission_ = fit.hmm.emissions.p_SV.T.float().contiguous()
        self.log_likelihood_ = torch.tensor(fit.log_likelihoods[-1] / len(token_N), device=device)
        return self

    def start(self, cond: Conditioning) -> HiddenState:
        """Begin B rows in the chain's first step."""
        return HiddenState(self.start_.repeat(cond.num_rows, 1))

    def extend(self, state: HiddenState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, HiddenState]:
        """Feed T tokens; returns log p(next) (B, V) and the new state."""
        q_BS = state.q_BS
        for t in range(token_BT.shape[1]):
            q_BS = self._step(q_BS, token_BT[:, t], mask_BT[:, t])[1]
        return (q_BS @ self.emission_.T).log(), HiddenState(q_BS)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t) (B, T) without ever making a row of V numbers."""
        q_BS, p_BT = self.start(cond).q_BS, torch.ones_like(token_BT, dtype=self.start_.dtype)
        for t in range(1, token_BT.shape[1]):
            p_BT[:, t], q_BS = self._step(q_BS, token_BT[:, t], mask_BT[:, t])
        return torch.where(mask_BT, p_BT.log(), 0.0)

    def _step(self, q_BS: Tensor, token_B: Tensor, mask_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return p(token) (B,), and q after it; padding, and tokens that no state emits, leave q as it is."""
        joint_BS = q_BS * self.emission_[token_B]
        p_B = joint_BS.sum(1)
        moved_BS = (joint_BS / p_B[:, None]) @ self.transition_
        return p_B, torch.where((mask_B & (p_B > 0))[:, None], moved_BS, q_BS)

    def _begun(self, token_N: Tensor) -> HMM:
        """Start from how often each token occurs, moved a little at random in each state."""
        device, num_states = token_N.device, self.config.states
        generator = torch.Generator().manual_seed(self.config.seed)
        count_V = torch.bincount(token_N, minlength=len(self.vocab)) + self.config.pseudo_count
        noise_SV = 0.5 + torch.rand(num_states, len(self.vocab), generator=generator, dtype=torch.float64)
        p_SV = noise_SV.to(device) * count_V * _emitted(self.vocab).to(device)
        start_S, transition_SS = (t.to(device) for t in ergodic(num_states, self.config.seed))
        emissions = Categorical(p_SV / p_SV.sum(1, keepdim=True), self.config.pseudo_count)
        return HMM(start_S, transition_SS, emissions)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Take tables of any size, as they were fitted."""
        for name, buffer in self._buffers.items():
            saved = state_dict.get(prefix + name)
            if buffer is not None and saved is not None:
                self._buffers[name] = torch.empty_like(saved, device=buffer.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _emitted(vocab: Vocab) -> Tensor:
    """Return (V,) 1, and 0 at PAD and BOS, which no scorer emits."""
    can_stand_V = torch.ones(len(vocab))
    can_stand_V[[PAD, BOS]] = 0
    return can_stand_V


def _body(sequence: Sequence[int], number: int, num_tokens: int) -> Tensor:
    """Return the tokens after BOS.  Raises DataError."""
    id_T = torch.as_tensor(sequence, dtype=torch.int64)
    if len(id_T) < 2 or id_T[0] != BOS or id_T[-1] != EOS:
        raise DataError("does not run from BOS to EOS", where=f"sequence {number}")
    bad_T = (id_T < 0) | (id_T >= num_tokens) | (id_T == PAD) | (id_T == BOS)
    bad_T[0] = False
    if bad_T.any():
        at = int(bad_T.nonzero()[0])
        raise DataError(f"has id {int(id_T[at])} at place {at}", where=f"sequence {number}")
    return id_T[1:]
