"""Words as chains of states: which word was spoken, where its states lie, and which words in a row.

Enters: log p(frame | state) (N, X) of frames end to end, from Gaussian mixtures or from a neural network
(`hybrid`), for the X = W * S states of W words; state x belongs to word x // S.  Leaves: a log-likelihood a
word, the likeliest state of each frame, or the likeliest sequence of words.

Every word is passed from its first state to its last (Rabiner 1989, section VI).

Letters beside the shared ones: W words, S states of a word, X states of all words, B sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.markov.emissions import GaussianMixtures, Gaussians
from sensorium.markov.estimation import Frames, baum_welch, emissions_of, even_segments
from sensorium.markov.inference import log_likelihoods, viterbi
from sensorium.markov.model import HMM, left_to_right
from sensorium.markov.packing import Packing


@dataclass(frozen=True, slots=True)
class WordModels:
    """The chains of W words, without their emissions.

    Attributes:
        transition_WSS: (W, S, S) probability of the next state while the word goes on.
        leave_W: (W,) probability that a word ends after a frame in its last state (running speech).
    """

    transition_WSS: Tensor
    leave_W: Tensor

    @property
    def num_words(self) -> int:
        """Count the words W."""
        return int(self.transition_WSS.shape[0])

    @property
    def states(self) -> int:
        """Count a word's states S."""
        return int(self.transition_WSS.shape[1])

    def log_likelihoods(self, log_e_NX: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return log p(frames | word), (B, W); -inf where a sequence is shorter than a word."""
        packing = Packing.of(lengths, log_e_NX.device)
        log_e_NWS = packing.pack(log_e_NX).view(-1, self.num_words, self.states)
        start_S, final_S = self._ends()
        columns = [
            log_likelihoods(start_S, transition_SS, final_S, log_e_NWS[:, w], packing)
            for w, transition_SS in enumerate(self.transition_WSS)
        ]
        return torch.stack(columns, 1)

    def align(self, log_e_NX: Tensor, lengths: Sequence[int], word_B: Sequence[int]) -> Tensor:
        """Return the likeliest state, 0..X-1, of each frame of sequences whose word is known, (N,) int64.

        Frames of a sequence too short for its word are -1.
        """
        state_N = torch.full((len(log_e_NX),), -1, dtype=torch.int64)
        start_S, final_S = self._ends()
        parts = torch.split_with_sizes(log_e_NX, lengths)
        places = torch.split_with_sizes(torch.arange(len(log_e_NX)), lengths)
        for word in sorted(set(word_B)):
            rows = [b for b, w in enumerate(word_B) if w == word]
            packing = Packing.of([lengths[b] for b in rows], log_e_NX.device)
            first = word * self.states
            log_e_NS = packing.pack(torch.cat([parts[b] for b in rows])[:, first : first + self.states])
            path_N, log_p_B = viterbi(start_S, self.transition_WSS[word], final_S, log_e_NS, packing)
            paths = torch.split_with_sizes(packing.unpack(path_N), [lengths[b] for b in rows])
            for b, path_T, log_p in zip(rows, paths, log_p_B.tolist(), strict=True):
                if log_p > -torch.inf:
                    state_N[places[b]] = path_T.cpu() + first
        return state_N

    def transcribe(
        self,
        log_e_NX: Tensor,
        lengths: Sequence[int],
        log_bigram_WW: Tensor,
        *,
        weight: float = 1.0,
        penalty: float = 0.0,
    ) -> list[list[int]]:
        """Return the likeliest sequence of words in each sequence of frames, by Viterbi over all words at once.

        Args:
            log_e_NX: (N, X) log p(frame | state).
            lengths: of the sequences.
            log_bigram_WW: (W + 1, W + 1) log p(next | word); row W: what begins, column W: what ends.
            weight: exponent of the bigram.
            penalty: nats that every word costs.
        """
        packing = Packing.of(lengths, log_e_NX.device)
        language_WW = (weight * log_bigram_WW - penalty).exp().to(log_e_NX.dtype)
        start_X, transition_XX, final_X = self._loop(language_WW)
        path_N, _ = viterbi(start_X, transition_XX, final_X, packing.pack(log_e_NX), packing)
        return [self._words(path_T) for path_T in torch.split_with_sizes(packing.unpack(path_N), lengths)]

    def _ends(self) -> tuple[Tensor, Tensor]:
        start_S, final_S = torch.eye(self.states, dtype=self.transition_WSS.dtype)[[0, -1]]
        return start_S, final_S

    def _loop(self, language_WW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Join all words into one chain of X states, in which words follow by `language_WW`."""
        num, size = self.num_words, self.states
        first_W, last_W = torch.arange(num) * size, torch.arange(num) * size + size - 1
        transition_XX: Tensor = torch.block_diag(*self.transition_WSS)
        transition_XX[last_W] *= 1 - self.leave_W[:, None]
        # Added, not set: in a word of one state, going on and beginning again are the same transition.
        transition_XX[last_W[:, None], first_W] += self.leave_W[:, None] * language_WW[:num, :num]
        start_X, final_X = torch.zeros(2, num * size, dtype=transition_XX.dtype)
        start_X[first_W] = language_WW[num, :num]
        final_X[last_W] = self.leave_W * language_WW[:num, num]
        return start_X, transition_XX, final_X

    def _words(self, path_T: Tensor) -> list[int]:
        """Read words off a path: one begins where the path comes into a first state from another state."""
        word_T, state_T = path_T // self.states, path_T % self.states
        begins_T = state_T == 0
        begins_T[1:] &= path_T[1:] != path_T[:-1]
        words: list[int] = word_T[begins_T].tolist()
        return words


def fit_words(
    x_NF: Tensor,
    lengths: Sequence[int],
    word_B: Sequence[int],
    num_words: int,
    *,
    states: int = 8,
    splits: int = 2,
    iterations: int = 8,
    floor: float = 0.05,
) -> tuple[WordModels, GaussianMixtures]:
    """Fit each word's chain, with mixtures of 2^splits Gaussians a state, to the sequences that say it.

    Each word starts from equal segments of its sequences; the mixtures are split and fitted again, as in HTK.

    Args:
        x_NF: (N, F) float64 frames end to end.
        lengths: of the sequences.
        word_B: the word of each sequence, 0..num_words-1.
        num_words: W.
        states: S.
        splits: how often the Gaussians are doubled.
        iterations: of EM, after each split.
        floor: least variance, as a share of the variance of all frames.

    Returns:
        the chains, and the emissions of all W * S states.

    Raises:
        DataError: a word without a sequence that is long enough for its states.
    """
    parts = torch.split_with_sizes(x_NF, lengths)
    least_F = floor * x_NF.var(0)
    fitted = []
    for word in range(num_words):
        chosen = [x_TF for x_TF, w in zip(parts, word_B, strict=True) if w == word and len(x_TF) >= states]
        if not chosen:
            raise DataError(f"word {word} is in no sequence of {states} frames or more: it cannot be fitted")
        fitted.append(_fit_word(chosen, states, splits, iterations, least_F))
    emissions = [hmm.emissions for hmm in fitted]
    joined = GaussianMixtures(
        torch.cat([e.weight_SK for e in emissions]),
        torch.cat([e.mean_SKF for e in emissions]),
        torch.cat([e.variance_SKF for e in emissions]),
        least_F,
    )
    leave_W = torch.tensor([_leave(word, lengths, word_B, states) for word in range(num_words)], dtype=x_NF.dtype)
    return WordModels(torch.stack([hmm.transition_SS for hmm in fitted]), leave_W), joined


def _fit_word(chosen: list[Tensor], states: int, splits: int, iterations: int, least_F: Tensor) -> HMM:
    x_NF, lengths = torch.cat(chosen), [len(x_TF) for x_TF in chosen]
    start_S, transition_SS, final_S = left_to_right(states)
    blank_SF = torch.zeros(states, x_NF.shape[1], dtype=x_NF.dtype)
    cut = emissions_of(Gaussians(blank_SF, blank_SF + 1, least_F), x_NF, even_segments(lengths, states))
    hmm = HMM(start_S, transition_SS, GaussianMixtures.of(cut), final_S)
    frames = Frames(x_NF, lengths, states)
    for split in range(splits + 1):
        if split:
            hmm = HMM(hmm.start_S, hmm.transition_SS, hmm.emissions.split(), final_S)
        hmm = baum_welch(hmm, frames, iterations=iterations).hmm
    return hmm


def _leave(word: int, lengths: Sequence[int], word_B: Sequence[int], states: int) -> float:
    """Return one over the frames that the word's last state lasts, were all states to last alike."""
    own = [length for length, w in zip(lengths, word_B, strict=True) if w == word]
    return min(1.0, states / (sum(own) / len(own)))
