"""When each token of a text is said: the likeliest alignment of a known text with the frames.

Enters: log-probabilities (F, V) and the text.  Leaves: each token's frames and how sure they are.
Source: Viterbi's algorithm over the CTC lattice blank, g_1, blank, ..., g_L, blank (Graves 2012, section 7.3).

Letters: F frames, L tokens, S = 2 L + 1 places of the lattice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.core.errors import DataError
from sensorium.core.vocabulary import PAD
from sensorium.decoding.ctc_layer import Floats, Ints

BLANK = PAD


@dataclass(frozen=True, slots=True)
class Span:
    """One token's frames [first, end), and the mean probability of the token in them."""

    first: int
    end: int
    confidence: float


@dataclass(frozen=True, slots=True)
class TimedWord:
    """One word: its text, when it is said in seconds, and the geometric mean of its tokens' confidences."""

    text: str
    start_s: float
    end_s: float
    confidence: float


def align(log_y_FV: NDArray[np.floating], tokens: Sequence[int]) -> list[Span]:
    """Return the frames of each token on the likeliest alignment.

    Raises:
        DataError: the frames are too few to spell the text, or rule it out.
    """
    if not tokens:
        return []
    class_S = np.full(2 * len(tokens) + 1, BLANK)
    class_S[1::2] = tokens
    place_F = _viterbi(log_y_FV[:, class_S].astype(np.float64), _may_skip(class_S))
    p_F = np.exp(log_y_FV[np.arange(len(log_y_FV)), class_S[place_F]])
    first_L = np.searchsorted(place_F, np.arange(1, len(class_S), 2), side="left")
    end_L = np.searchsorted(place_F, np.arange(1, len(class_S), 2), side="right")
    return [Span(int(a), int(b), float(p_F[a:b].mean())) for a, b in zip(first_L, end_L, strict=True)]


def text_of_each(tokens: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[str]:
    """Return what each token adds to the text before it, so that together they are the text.

    A tokenizer may change what it has written once it reads on (a space before a comma, half a character): that is
    added to the first token that differs.
    """
    pieces: list[str] = []
    before = ""
    for n in range(len(tokens)):
        now = decode(tokens[: n + 1])
        same = next(
            (i for i, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), min(len(before), len(now))
        )
        for k in range(n - 1, -1, -1):  # take back what is no longer said
            if same >= len(before):
                break
            kept = max(len(pieces[k]) - (len(before) - same), 0)
            before, pieces[k] = before[: len(before) - len(pieces[k]) + kept], pieces[k][:kept]
        pieces.append(now[len(before) :])
        before = now
    return pieces


def timed_words(
    spans: Sequence[Span], pieces: Sequence[str], delimiter: str, seconds_per_frame: float
) -> list[TimedWord]:
    """Gather the tokens between delimiters into words.

    Args:
        spans: one a token.
        pieces: what each token adds to the text; it may begin a new word, or hold several.
        delimiter: what parts words.
        seconds_per_frame: distance of frames.
    """
    words: list[TimedWord] = []
    held: list[tuple[str, Span]] = []

    def close() -> None:
        text = "".join(piece for piece, _ in held).strip(delimiter)
        spoken = [span for piece, span in held if piece.strip(delimiter)]
        held.clear()
        if spoken:
            confidence = float(np.exp(np.mean([np.log(max(s.confidence, 1e-30)) for s in spoken])))
            start_s, end_s = spoken[0].first * seconds_per_frame, spoken[-1].end * seconds_per_frame
            words.append(TimedWord(text, start_s, end_s, confidence))

    for piece, span in zip(pieces, spans, strict=True):
        if piece.startswith(delimiter):
            close()
        held.append((piece, span))
        if piece.endswith(delimiter):
            close()
    close()
    return words


def _may_skip(class_S: Ints) -> NDArray[np.bool_]:
    """Say where the place before may be left out: a blank between two different tokens."""
    may_S = np.zeros(len(class_S), np.bool_)
    may_S[2:] = (class_S[2:] != BLANK) & (class_S[2:] != class_S[:-2])
    return may_S


def _viterbi(log_y_FS: Floats, may_skip_S: NDArray[np.bool_]) -> Ints:
    """Return the place of each frame on the best path, (F,)."""
    num_frames, num_places = log_y_FS.shape
    skip_S = np.where(may_skip_S, 0.0, -np.inf)
    best_S = np.full(num_places, -np.inf)
    best_S[0] = 0.0  # before the first frame; from there the first blank or the first token
    step_FS = np.zeros((num_frames, num_places), np.int8)
    from_3S = np.full((3, num_places), -np.inf)
    for frame in range(num_frames):
        from_3S[0] = best_S
        from_3S[1, 1:] = best_S[:-1]
        from_3S[2, 2:] = best_S[:-2] + skip_S[2:]
        step_FS[frame] = from_3S.argmax(0)
        best_S = from_3S.max(0) + log_y_FS[frame]
    place = num_places - 1 if num_frames and best_S[-1] >= best_S[-2] else num_places - 2
    if not num_frames or best_S[place] == -np.inf:
        raise DataError(f"{num_frames} frames cannot spell a text of {num_places // 2} tokens")
    place_F = np.zeros(num_frames, np.int64)
    for frame in range(num_frames - 1, -1, -1):
        place_F[frame] = place
        place -= int(step_FS[frame, place])
    return place_F
