"""Hot words: a text has the boost of every hot word in it, wherever that stands."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import UsageError
from sensorium.decoding.ctc_beam import CTCBeam
from sensorium.decoding.hot_words import HotWords

DELIMITER = 9
WORDS = ["a", "b", "ab", "ba"]
PHRASES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)


def tokens(text: str) -> tuple[int, ...]:
    return tuple(DELIMITER if letter == " " else ord(letter) - ord("a") + 4 for letter in text)


def scored(boosts: dict[str, float], text: str) -> float:
    """What the layer adds to a text, token by token and at its end."""
    layer = HotWords({tokens(word): b for word, b in boosts.items()}, num_classes=12, delimiter=DELIMITER)
    state_N, total = np.array([layer.start()]), 0.0
    for token in tokens(text):
        total += float(layer.gains(state_N, np.array([token]))[0, 0])
        state_N = layer.advance(state_N, np.array([token]))
    return total + float(layer.end(state_N)[0])


def contained(boosts: dict[str, float], text: str) -> float:
    """The same by looking for every hot word at every word."""
    words = text.split(" ")
    return sum(
        boost
        for phrase, boost in boosts.items()
        for start in range(len(words))
        if words[start : start + len(phrase.split(" "))] == phrase.split(" ")
    )


@given(
    st.dictionaries(PHRASES, st.sampled_from([0.5, 1.0, 3.0]), min_size=1, max_size=4),
    st.lists(PHRASES, min_size=1),
)
def test_a_text_has_the_boost_of_every_hot_word_in_it(boosts: dict[str, float], pieces: list[str]) -> None:
    text = " ".join(pieces[:4])
    assert np.isclose(scored(boosts, text), contained(boosts, text))


def test_frames_without_a_blank_are_searched() -> None:
    log_y_FV = np.where(np.arange(7) == 5, 0.0, -np.inf)[None].repeat(5, 0)
    assert CTCBeam(gap=1.0)(log_y_FV)[0].tokens == (5,)
    log_y_FV[2] = np.where(np.arange(7) == 0, 0.0, -np.inf)
    assert CTCBeam()(log_y_FV)[0].tokens == (5, 5)


@pytest.mark.parametrize("boost", [math.inf, math.nan, 0.0, -1.0])
def test_a_boost_is_above_zero_and_finite(boost):
    with pytest.raises(UsageError, match="above 0 and finite"):
        HotWords({(3,): boost}, num_classes=5, delimiter=None)
