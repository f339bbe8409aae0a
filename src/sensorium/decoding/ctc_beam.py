"""CTC prefix beam search with any layers mixed in: n-grams, lexicons, hot words.

Enters: log-probabilities (F, V) of blank and tokens, frame by frame.  Leaves: the best texts.
Sources: Graves and Jaitly 2014 and Hannun et al. 2014 (arXiv 1408.2873), algorithm 1: for each text the
probabilities of its alignments that end in blank and in a token are summed apart,

    score(text) = log p_CTC(text) + sum over layers of layer(text)

The whole beam is a handful of arrays, and a frame some forty operations on them.  Trained CTC networks say
"blank" almost surely in most frames; a run of those costs one addition.

Letters: F frames, V classes, N texts of the beam, K tokens worth trying in a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.core.errors import UsageError
from sensorium.core.vocabulary import PAD
from sensorium.decoding.ctc_layer import Floats, Ints, Layer

BLANK = PAD
_NEVER = -np.inf
_IMPOSSIBLE = -1e5
"""Log-probabilities below this stand for zero (a class that cannot be emitted)."""
_HASH = np.uint64(0x9E3779B97F4A7C15)
_Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Spelled:
    """One text that was found.

    Attributes:
        tokens: its ids.
        score: what the search ranked by: CTC and all layers.
        log_p: log p_CTC of the alignments that the beam kept, nats.
    """

    tokens: tuple[int, ...]
    score: float
    log_p: float


@dataclass(frozen=True, kw_only=True)
class CTCBeam:
    """Search for the texts of the highest score.

    Args:
        width: texts kept from frame to frame.
        least_log_p: tokens below this in a frame are not tried there, nats; the likeliest always is.
        gap: texts worse than the best by more than this are dropped, nats.
        n_best: texts returned.

    Raises:
        UsageError: a setting out of range.
    """

    width: int = 100
    least_log_p: float = -5.0
    gap: float = 12.0
    n_best: int = 1

    def __post_init__(self) -> None:
        if not (self.width >= 1 and self.n_best >= 1 and self.gap > 0 and self.least_log_p <= 0):
            raise UsageError(f"{self} is out of range", advice="width, n_best >= 1; gap > 0; least_log_p <= 0")

    def __call__(self, log_y_FV: NDArray[np.floating], layers: Sequence[Layer] = ()) -> list[Spelled]:
        """Return the best texts, best first; at least one unless the layers forbid every text.

        Args:
            log_y_FV: (F, V) natural logs, each row summing to 1; class PAD is the blank.  F may be 0.
        """
        beam = _Beam(layers)
        # A blank of probability 0 must not meet itself in a difference of sums.
        possible_FV: Floats = np.clip(np.asarray(log_y_FV, np.float64), 10 * _IMPOSSIBLE, None)
        for blank, token_K, log_y_K in self._moments(possible_FV):
            beam.wait(blank) if not len(token_K) else beam.step(blank, token_K, log_y_K, self.width, self.gap)
        return beam.texts(self.n_best)

    def _moments(self, log_y_FV: Floats) -> list[tuple[float, Ints, Floats]]:
        """Cut the frames into moments: one frame and its tokens worth trying, or a run of frames without any."""
        worth_FV = log_y_FV >= max(self.least_log_p, _IMPOSSIBLE)
        if len(log_y_FV):
            worth_FV[np.arange(len(log_y_FV)), log_y_FV.argmax(1)] = True
        worth_FV[:, BLANK] = False
        is_active_F = worth_FV.any(1)
        active_F = np.flatnonzero(is_active_F)
        waited_F = np.where(is_active_F, 0.0, log_y_FV[:, BLANK]).cumsum()
        frame_K, token_K = np.nonzero(worth_FV)
        first_F = np.searchsorted(frame_K, active_F)
        tokens, log_ys = np.split(token_K, first_F[1:]), np.split(log_y_FV[frame_K, token_K], first_F[1:])
        moments: list[tuple[float, Ints, Floats]] = []
        nothing = (np.zeros(0, np.int64), np.zeros(0))
        before, done = -1, 0.0
        for frame, token, log_y in zip(active_F.tolist(), tokens, log_ys, strict=False):
            if frame > before + 1:
                moments.append((float(waited_F[frame]) - done, *nothing))
                done = float(waited_F[frame])
            moments.append((float(log_y_FV[frame, BLANK]), token, log_y))
            before = frame
        if before + 1 < len(log_y_FV):
            moments.append((float(waited_F[-1]) - done, *nothing))
        return moments


class _Beam:
    """The texts kept, as arrays.

    A text is known by a hash of its tokens, which its growth updates; `back` points into the list of all
    growths, from which texts are read at the end.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self.log_b_N, self.log_n_N, self.extra_N = np.zeros(1), np.full(1, _NEVER), np.zeros(1)
        self.last_N, self.back_N = np.full(1, BLANK), np.full(1, -1)
        self.hash_N, self.parent_N = np.ones(1, np.uint64), np.zeros(1, np.uint64)
        self.states = [np.full(1, layer.start()) for layer in layers]
        self.grown: list[tuple[Ints, Ints]] = []
        self.num_grown = 0

    def wait(self, blank: float) -> None:
        """Pass frames that say nothing but blank, with this log-probability in all."""
        self.log_b_N = np.logaddexp(self.log_b_N, self.log_n_N) + blank
        self.log_n_N = np.full_like(self.log_b_N, _NEVER)

    def step(self, blank: float, token_K: Ints, log_y_K: Floats, width: int, gap: float) -> None:
        """Pass one frame: every text stays as it is, or grows by one of the tokens."""
        total_N = np.logaddexp(self.log_b_N, self.log_n_N)
        log_b_N, log_n_N = total_N + blank, np.full_like(total_N, _NEVER)
        repeat_N, column_N = np.nonzero(self.last_N[:, None] == token_K)
        log_n_N[repeat_N] = self.log_n_N[repeat_N] + log_y_K[column_N]
        ready_NK = total_N[:, None] + log_y_K
        ready_NK[repeat_N, column_N] = self.log_b_N[repeat_N] + log_y_K[column_N]
        self._merge(log_n_N, ready_NK, repeat_N, column_N)
        extra_NK = self.extra_N[:, None] + np.zeros(len(token_K))
        for layer, state_N in zip(self.layers, self.states, strict=True):
            extra_NK += layer.gains(state_N, token_K)
        score_X = np.concatenate([np.logaddexp(log_b_N, log_n_N) + self.extra_N, (ready_NK + extra_NK).ravel()])
        chosen_N = _best(score_X, width, gap)
        num_stay = len(self.hash_N)
        stay_N, grow_N = chosen_N[chosen_N < num_stay], chosen_N[chosen_N >= num_stay] - num_stay
        self.log_b_N, self.log_n_N = log_b_N, log_n_N
        self._select(stay_N, grow_N // len(token_K), token_K[grow_N % len(token_K)], ready_NK, extra_NK, grow_N)

    def _merge(self, log_n_N: Floats, ready_NK: Floats, repeat_N: Ints, column_N: Ints) -> None:
        """Add growths that spell a text of the beam to that text: its last token is tried, its parent is there."""
        if not len(repeat_N):
            return
        order_N = self.hash_N.argsort()
        parent_R = self.parent_N[repeat_N]
        at_R = order_N[np.minimum(self.hash_N[order_N].searchsorted(parent_R), len(order_N) - 1)]
        is_there_R = self.hash_N[at_R] == parent_R
        text_R, at_R, column_R = repeat_N[is_there_R], at_R[is_there_R], column_N[is_there_R]
        log_n_N[text_R] = np.logaddexp(log_n_N[text_R], ready_NK[at_R, column_R])
        ready_NK[at_R, column_R] = _NEVER

    def _select(
        self, stay_N: Ints, from_N: Ints, token_N: Ints, ready_NK: Floats, extra_NK: Floats, grow_N: Ints
    ) -> None:
        """Keep the texts `stay_N`, and the growths of `from_N` by `token_N`."""
        from_hash_N = self.hash_N[from_N]
        self.log_b_N = np.concatenate([self.log_b_N[stay_N], np.full(len(from_N), _NEVER)])
        self.log_n_N = np.concatenate([self.log_n_N[stay_N], ready_NK.ravel()[grow_N]])
        self.extra_N = np.concatenate([self.extra_N[stay_N], extra_NK.ravel()[grow_N]])
        self.states = [
            np.concatenate([state_N[stay_N], layer.advance(state_N[from_N], token_N)])
            for layer, state_N in zip(self.layers, self.states, strict=True)
        ]
        self.grown.append((self.back_N[from_N], token_N))
        new_N = np.arange(self.num_grown, self.num_grown + len(from_N))
        self.num_grown += len(from_N)
        self.back_N = np.concatenate([self.back_N[stay_N], new_N])
        self.last_N = np.concatenate([self.last_N[stay_N], token_N])
        self.parent_N = np.concatenate([self.parent_N[stay_N], from_hash_N])
        self.hash_N = np.concatenate([self.hash_N[stay_N], grown_hash(from_hash_N, token_N)])

    def texts(self, n_best: int) -> list[Spelled]:
        """End every text; return the best."""
        log_p_N = np.logaddexp(self.log_b_N, self.log_n_N)
        score_N = log_p_N + self.extra_N
        for layer, state_N in zip(self.layers, self.states, strict=True):
            score_N = score_N + layer.end(state_N)
        order_N = [n for n in (-score_N).argsort(kind="stable")[:n_best] if score_N[n] > _NEVER]
        backs = np.concatenate([np.zeros(0, np.int64), *(back_N for back_N, _ in self.grown)])
        tokens = np.concatenate([np.zeros(0, np.int64), *(token_N for _, token_N in self.grown)])
        return [
            Spelled(_trace(int(self.back_N[n]), backs, tokens), float(score_N[n]), float(log_p_N[n]))
            for n in order_N
        ]


def grown_hash(hash_N: _Hashes, token_N: Ints) -> _Hashes:
    """Return the hash of each text with a token appended (multiplicative, modulo 2^64, mixed by a shift)."""
    hash_N = (hash_N ^ (hash_N >> np.uint64(29))) * _HASH
    return hash_N + (token_N.astype(np.uint64) + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93)


def _best(score_X: Floats, width: int, gap: float) -> Ints:
    """Return the places of the `width` highest scores that are within `gap` of the highest."""
    chosen_N = np.flatnonzero(score_X >= max(float(score_X.max()) - gap, np.finfo(np.float64).min))
    if len(chosen_N) > width:
        chosen_N = chosen_N[np.argpartition(-score_X[chosen_N], width - 1)[:width]]
    return chosen_N


def _trace(back: int, backs: Ints, tokens: Ints) -> tuple[int, ...]:
    found = []
    while back >= 0:
        found.append(int(tokens[back]))
        back = int(backs[back])
    return tuple(reversed(found))


def greedy(log_y_FV: NDArray[np.floating]) -> tuple[int, ...]:
    """Return the tokens of the single likeliest alignment: repetitions collapsed, blanks dropped."""
    best_F = np.asarray(log_y_FV).argmax(1) if len(log_y_FV) else np.zeros(0, np.int64)
    is_new_F = np.diff(best_F, prepend=BLANK) != 0
    return tuple(best_F[is_new_F & (best_F != BLANK)].tolist())
