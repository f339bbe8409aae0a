"""Windows cover a recording and overlap; what is heard in each is joined without losing or repeating a word."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.decoding.ctc_alignment import TimedWord
from sensorium.tasks.long_recordings import Window, join, quietest, windows
from sensorium.tasks.transcription import NOTHING, Transcription

RATE_HZ = 100


@settings(deadline=None, max_examples=60)
@given(num=st.integers(1, 5000), window=st.integers(60, 900), share=st.floats(0, 0.5))
def test_windows_cover_everything_and_overlap_enough(num: int, window: int, share: float) -> None:
    samples_N = np.random.default_rng(num).normal(size=num).astype(np.float32)
    overlap = round(share * window)
    parts = windows(samples_N, RATE_HZ, window / RATE_HZ, overlap / RATE_HZ)
    assert (parts[0].start, parts[0].cut, parts[-1].end) == (0, 0, num)
    assert all(part.end - part.start == min(window, num) for part in parts)
    for earlier, later in pairwise(parts):
        assert earlier.end - later.start >= overlap - 1
        assert later.start <= later.cut <= earlier.end
        assert earlier.start < later.start


def test_windows_have_to_move_on() -> None:
    with pytest.raises(ValueError, match="cannot overlap by"):
        windows(np.zeros(100, np.float32), RATE_HZ, 0.5, 0.5)


def test_a_cut_is_where_it_is_quietest() -> None:
    samples_N = np.ones(1000, np.float32)
    samples_N[430:460] = 0.01
    assert 430 <= quietest(samples_N, 200, 700, RATE_HZ) <= 460
    assert quietest(np.zeros(1000, np.float32), 200, 700, RATE_HZ) == pytest.approx(450, abs=2)


def heard_in(said: list[tuple[str, float]], part: Window, shift_s: float, timed: bool) -> Transcription:
    """What a perfect ear hears: the words that lie in a window as a whole, its clock off by a little."""
    start_s, end_s = part.start / RATE_HZ, part.end / RATE_HZ
    words = [
        TimedWord(text, at_s - start_s + shift_s, at_s - start_s + 0.2 + shift_s, 0.5)
        for text, at_s in said
        if at_s >= start_s and at_s + 0.2 <= end_s
    ]
    text = " ".join(word.text for word in words)
    return Transcription(text, 0.5, (), tuple(words) if timed else (), no_speech=not words) if words else NOTHING


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_what_windows_hear_is_joined_as_it_was_said(seed: int, timed: bool) -> None:
    rng = np.random.default_rng(seed)
    said = [(f"w{rng.integers(30)}", 0.25 * i) for i in range(360)]
    samples_N = rng.normal(size=90 * RATE_HZ).astype(np.float32)
    parts = windows(samples_N, RATE_HZ, 15.0, 3.0)
    assert len(parts) == 8
    heard = [heard_in(said, part, rng.normal(scale=0.03), timed) for part in parts]
    joined = join(heard, parts, RATE_HZ)
    assert joined.text.split() == [text for text, _ in said]
    assert joined.probability == pytest.approx(0.5 if timed else 0.5 ** len(parts))
    if timed:
        assert [word.start_s for word in joined.words] == pytest.approx([at_s for _, at_s in said], abs=0.15)


def test_windows_that_share_no_word_are_cut_or_set_end_to_end() -> None:
    parts = [Window(0, 1000, 0), Window(700, 1700, 850)]
    left = Transcription("a b", 1.0, (), (TimedWord("a", 1.0, 2.0, 1.0), TimedWord("b", 8.8, 9.2, 1.0)))
    right = Transcription("c d", 1.0, (), (TimedWord("c", 0.5, 1.0, 1.0), TimedWord("d", 1.8, 2.2, 1.0)))
    assert join([left, right], parts, RATE_HZ).text == "a d", "each says its own side of the cut, at 8.5 s"
    untimed = [Transcription(each.text, 1.0) for each in (left, right)]
    assert join(untimed, parts, RATE_HZ).text == "a b c d"


def test_silent_windows() -> None:
    parts = [Window(0, 1000, 0), Window(700, 1700, 850)]
    assert join([NOTHING, NOTHING], parts, RATE_HZ) == NOTHING
    word = Transcription("a", 1.0, (), (TimedWord("a", 5.0, 5.5, 1.0),))
    joined = join([NOTHING, word], parts, RATE_HZ)
    assert (joined.text, joined.words[0].start_s, joined.no_speech) == ("a", 12.0, False)


def sounds(*words: tuple[str, float, float, float]) -> Transcription:
    timed = tuple(TimedWord(*word) for word in words)
    return Transcription(" ".join(word.text for word in timed), 0.9, (), timed)


MILLISECONDS = [Window(0, 6000, 0), Window(4800, 10800, 5400)]


@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        # Each hears it on its own side of the cut, and hears something else.
        (("moaning", 5.0, 5.7, 0.9), ("morning", 0.25, 1.0, 0.9), "good moaning all"),
        (("moaning", 5.0, 5.7, 0.5), ("morning", 0.25, 1.0, 0.9), "good morning all"),
        # Each hears it on the other's side of the cut.
        (("moaning", 5.15, 5.9, 0.9), ("morning", 0.15, 0.8, 0.5), "good moaning all"),
        (("moaning", 5.15, 5.9, 0.5), ("morning", 0.15, 0.8, 0.9), "good morning all"),
        # Two words whose times run into each other a little are two words.
        (("fine", 5.0, 5.4, 0.9), ("morning", 0.55, 1.0, 0.9), "good fine morning all"),
    ],
)
def test_a_word_on_the_cut_is_written_once(left, right, said) -> None:
    heard = [sounds(("good", 4.0, 4.4, 0.9), left), sounds(right, ("all", 1.2, 1.4, 0.9))]
    found = join(heard, MILLISECONDS, 1000)
    assert found.text == said
    assert all(a.end_s <= b.start_s < b.end_s for a, b in pairwise(found.words))


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 10**6),
    shift_s=st.floats(-0.05, 0.05),
    window=st.integers(300, 900),
    share=st.floats(0.2, 0.5),
)
def test_what_windows_hear_otherwise_is_as_many_words(seed: int, shift_s: float, window: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    said = [(str(n), 0.3 + 0.6 * n + float(rng.uniform(0, 0.1))) for n in range(40)]
    samples_N = rng.normal(size=2600).astype(np.float32)
    parts = windows(samples_N, RATE_HZ, window / RATE_HZ, share * window / RATE_HZ)
    heard = []
    for number, part in enumerate(parts):
        one = heard_in(said, part, shift_s * (number % 2), True)
        words = tuple(
            TimedWord(
                f"{word.text}x{number}" if rng.random() < 0.5 else word.text,
                word.start_s,
                word.end_s,
                float(rng.uniform(0.2, 1)),
            )
            for word in one.words
        )
        heard.append(Transcription(" ".join(word.text for word in words), 0.5, (), words))
    found = join(heard, parts, RATE_HZ)
    assert [word.text.partition("x")[0] for word in found.words] == [text for text, _ in said]
    assert all(a.end_s <= b.start_s < b.end_s for a, b in pairwise(found.words))


def test_one_window_is_written_as_it_is_heard() -> None:
    whole = sounds(("good", 4.0, 4.4, 0.9), ("morning", 5.0, 5.7, 0.6))
    found = join([whole], [Window(0, 6000, 0)], 1000)
    assert (found.text, found.words) == (whole.text, whole.words)
