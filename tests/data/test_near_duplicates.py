"""Equal and nearly equal texts, pictures and sounds are found, and others are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from sensorium.core.types import Media
from sensorium.data.fingerprints import MOST, all_bits
from sensorium.data.near_duplicates import CONTAINED, SHINGLE_WORDS, known_bits, known_texts, near_texts, words_of
from sensorium.media.policy import MediaPolicy

TEXTS = st.lists(st.lists(st.sampled_from("abcd"), max_size=14).map(" ".join), max_size=6)


def shingles(text):
    words = words_of(text)
    return {tuple(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1)}


@given(TEXTS, TEXTS)
def test_near_texts_are_those_of_brute_force(held, learned):
    found = near_texts(held, learned)
    for one, place in zip(held, found.tolist(), strict=True):
        sizes = [min(len(shingles(one)), len(shingles(other))) for other in learned]
        shares = [
            len(shingles(one) & shingles(other)) / size if size >= 2 else 0.0
            for other, size in zip(learned, sizes, strict=True)
        ]
        best = max(shares, default=0.0)
        assert place == (shares.index(best) if best >= CONTAINED else -1)


def test_a_phrase_of_a_sentence_is_known_and_so_is_another_spelling():
    learned = [
        "It is the expressive power of the camera that counts .",
        "dull",
        "Ｏne  two",
        "我喜欢这家旅馆的早餐",
    ]
    held = [
        "the expressive power of the camera",
        "DULL",
        "one two",
        "power of",
        "no such thing at all here",
        "我喜欢这家旅馆",
    ]
    known = known_texts(held, learned)
    assert known.exact_H.tolist() == [-1, 1, 2, -1, -1, -1]
    assert known.near_H.tolist() == [0, -1, -1, -1, -1, 3]


def picture(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def file_of(image: Image.Image, kind: str = "PNG", **options) -> Media:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Media(data=file.getvalue())


def test_pictures_scaled_and_encoded_anew_are_known_and_plain_ones_are_not():
    pictures = [picture(seed) for seed in range(40)]
    learned = all_bits([file_of(one) for one in pictures], "image", MediaPolicy())
    changed = [one.resize((77, 58)) for one in pictures]
    held = all_bits([file_of(one, "JPEG", quality=40) for one in changed], "image", MediaPolicy())
    assert known_bits(held, learned, MOST["image"]).tolist() == list(range(40))
    others = all_bits([file_of(picture(100 + seed)) for seed in range(40)], "image", MediaPolicy())
    assert (known_bits(others, learned, MOST["image"]) == -1).all()
    plain = all_bits(
        [file_of(Image.new("RGB", (9, 9), color)) for color in ("red", "blue")], "image", MediaPolicy()
    )
    assert (known_bits(plain, plain, MOST["image"]) == -1).all()


def sound(seed: int) -> np.ndarray:
    """One second of noise whose loudness changes from band to band and from moment to moment, as in speech."""
    random, found = np.random.default_rng(seed), np.zeros(16_000)
    for low_hz in range(100, 4_000, 200):
        noise_F = np.fft.rfft(random.standard_normal(16_000))
        noise_F[: low_hz - 50] = noise_F[low_hz + 250 :] = 0
        loudness_T = np.exp(2 * random.standard_normal(9))
        found += np.fft.irfft(noise_F) * np.interp(np.arange(16_000), np.linspace(0, 16_000, 9), loudness_T)
    return 0.4 * found / np.abs(found).max()


def recording(x_N: np.ndarray, kind: str, **options) -> Media:
    file = io.BytesIO()
    soundfile.write(file, x_N, 16_000, format=kind, **options)
    return Media(data=file.getvalue())


@pytest.mark.parametrize(("gain", "kind"), [(0.3, "WAV"), (1.5, "FLAC"), (1.0, "OGG")])
def test_sounds_made_louder_and_encoded_anew_are_known(gain, kind):
    sounds = [sound(seed) for seed in range(12)]
    learned = all_bits([recording(one, "WAV") for one in sounds], "audio", MediaPolicy())
    held = all_bits([recording(gain * one, kind) for one in sounds], "audio", MediaPolicy())
    assert known_bits(held, learned, MOST["audio"]).tolist() == list(range(12))
    others = all_bits([recording(sound(100 + seed), "WAV") for seed in range(12)], "audio", MediaPolicy())
    assert (known_bits(others, learned, MOST["audio"]) == -1).all()


def test_what_cannot_be_read_is_near_nothing():
    bits = all_bits([Media(data=b"nothing"), recording(np.zeros(16_000), "WAV")], "audio", MediaPolicy())
    assert not bits.any()
    assert known_bits(bits, bits, MOST["audio"]).tolist() == [-1, -1]
