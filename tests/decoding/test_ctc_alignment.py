"""The likeliest alignment against all alignments."""

import itertools

import numpy as np
import pytest

from sensorium.core.errors import DataError
from sensorium.core.vocabulary import PAD
from sensorium.decoding.ctc_alignment import align, timed_words


def posteriors(num_frames, seed):
    logit_FV = 2 * np.random.default_rng(seed).normal(size=(num_frames, 7))
    return (logit_FV - np.logaddexp.reduce(logit_FV, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("text", [(4,), (4, 5), (4, 4), (4, 5, 4), (5, 5, 5)])
def test_equals_the_best_of_all_alignments(text):
    for seed in range(5):
        log_y_FV = posteriors(6, seed)
        paths = [
            path
            for path in itertools.product({PAD, *text}, repeat=6)
            if tuple(k for k, _ in itertools.groupby(path) if k != PAD) == text
        ]
        best = max(paths, key=lambda path: sum(log_y_FV[f, k] for f, k in enumerate(path)))
        runs = []
        for token, group in itertools.groupby(enumerate(best), key=lambda pair: pair[1]):
            frames = [frame for frame, _ in group]
            if token != PAD:
                confidence = float(np.exp(log_y_FV[frames, token]).mean())
                runs.append((frames[0], frames[-1] + 1, pytest.approx(confidence)))
        assert [(s.first, s.end, s.confidence) for s in align(log_y_FV, text)] == runs


def test_what_cannot_be_spelled_is_refused():
    assert align(posteriors(3, 0), ()) == []
    assert align(posteriors(0, 0), ()) == []
    for frames, text in ((2, (4, 4)), (1, (4, 5)), (0, (4,))):
        with pytest.raises(DataError, match="cannot spell"):
            align(posteriors(frames, 0), text)


def test_a_long_text_is_aligned():
    text = [4 + i % 3 for i in range(200)]
    spans = align(posteriors(500, 1), text)
    assert len(spans) == 200
    assert all(a.end <= b.first for a, b in itertools.pairwise(spans))


def test_words_have_times_and_confidences():
    texts = ["", "", "", "", "a", "b", " "]
    log_y_FV = np.log(np.full((8, 7), 0.1))
    for frame, token in enumerate([0, 4, 4, 5, 6, 0, 5, 0]):
        log_y_FV[frame, token] = np.log(0.4 + 0.05 * frame)
    tokens = (4, 5, 6, 5)
    pieces = [texts[token] for token in tokens]
    words = timed_words(align(log_y_FV, tokens), pieces, " ", 0.5)
    assert [(w.text, w.start_s, w.end_s) for w in words] == [("ab", 0.5, 2.0), ("b", 3.0, 3.5)]
    assert words[0].confidence == pytest.approx(np.sqrt((0.45 + 0.5) / 2 * 0.55))
    assert words[1].confidence == pytest.approx(0.7)
    assert timed_words([], [], " ", 0.5) == []
