"""Synthetic speech: the same for the same words and voice, understood, and refused with a reason."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from sensorium.core.errors import DataError, DiskError, MissingExtraError
from sensorium.data.synthesis import speech
from sensorium.data.synthesis.speech import Voice, list_variants, list_voices, speak, voice_sets, write_wav
from sensorium.media.log_mel import log_mel

pytest.importorskip("espeakng_loader", reason="extra 'demo' is not installed")

WORDS = [
    "red",
    "green",
    "blue",
    "yellow",
    "black",
    "gray",
    "teal",
    "brown",
    "circle",
    "rectangle",
    "triangle",
    "square",
    "what",
    "color",
    "shape",
    "is",
    "there",
    "present",
    "image",
    "contain",
    "yes",
    "no",
    "does",
    "a",
    "not",
    "the",
    "big",
    "in",
]


def test_speaks() -> None:
    samples_N, rate_hz = speak("what color is the triangle?", Voice("en-us", "f2"))
    assert rate_hz == 22_050
    assert samples_N.dtype == np.float32
    assert samples_N.ndim == 1
    assert 1.0 < len(samples_N) / rate_hz < 2.5
    assert 0.05 < np.abs(samples_N).max() <= 1.0


def test_says_the_same_again_whatever_was_said_between() -> None:
    voice = Voice("en-us", "m3", 160, 45)
    first, _ = speak("is there a circle?", voice)
    speak("something else entirely, and longer", Voice("en-gb", "whisper", 300, 90))
    again, _ = speak("is there a circle?", voice)
    assert np.array_equal(first, again)


def test_says_the_same_in_another_process() -> None:
    program = (
        "import hashlib; from sensorium.data.synthesis.speech import *;"
        "print(hashlib.sha256(speak('a red square', Voice('en-us', 'f1'))[0].tobytes()).hexdigest())"
    )
    hashes = {subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout for _ in "12"}
    assert len(hashes) == 1


def test_says_the_same_in_threads() -> None:
    alone = [speak(word)[0] for word in WORDS[:8]]
    together: dict[int, NDArray[np.float32]] = {}
    threads = [
        threading.Thread(target=lambda i=i: together.__setitem__(i, speak(WORDS[i])[0])) for i in range(len(alone))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(alone[i], together[i]) for i in range(len(alone)))


def test_voices_differ() -> None:
    said = {
        speak("a blue circle", voice)[0].tobytes()
        for voice in (Voice(), Voice("en-gb"), Voice(variant="f2"), Voice(pitch=80), Voice(speed_wpm=120))
    }
    assert len(said) == 5


def test_speed_and_pitch_do_what_they_say() -> None:
    slow, fast = (len(speak("there is a big green rectangle", Voice(speed_wpm=wpm))[0]) for wpm in (120, 240))
    assert 1.6 < slow / fast < 2.4
    low, high = (_pitch_hz(*speak("no no no no", Voice(pitch=pitch))) for pitch in (20, 80))
    assert high > 1.3 * low


def test_speaks_chinese() -> None:
    assert {"cmn", "zh"} <= set(list_voices())
    samples_N, rate_hz = speak("你好，世界", Voice("cmn"))
    assert len(samples_N) > rate_hz / 2


def test_every_listed_language_has_a_dictionary(capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("en-us", "en-gb", "fr-fr", "de", "chr-US-Qaaa-x-west"):
        assert name in list_voices()
        assert len(speak("one", Voice(name))[0]) > 2_000
    assert "fo" not in list_voices()
    assert capfd.readouterr() == ("", "")


def test_unknown_voices_are_refused_not_replaced() -> None:
    with pytest.raises(DataError, match="did you mean 'en-us'"):
        speak("hello", Voice("en-uss"))
    with pytest.raises(DataError, match=r"no variant is called 'whispr' \(did you mean 'whisper'"):
        speak("hello", Voice(variant="whispr"))
    with pytest.raises(DataError, match="no variant is called 'M3'"):  # espeak-ng would speak as nobody, silently
        speak("hello", Voice(variant="M3"))


@pytest.mark.parametrize("wrong", [{"speed_wpm": 79}, {"speed_wpm": 451}, {"pitch": -1}, {"pitch": 100}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(DataError, match=next(iter(wrong))):
        Voice(**wrong)


@pytest.mark.parametrize("text", ["", "  \n", "\0"])
def test_blank_text_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="nothing to say"):
        speak(text)


@pytest.mark.parametrize("text", ["a\0b", "<speak>hi</speak>", "[[h@lou]]", "\U0001f600", "a\ud800b", "x" * 500])
def test_odd_texts_are_spoken(text: str) -> None:
    samples_N, _ = speak(text)
    assert len(samples_N) > 1_000


def test_a_nul_does_not_end_the_text() -> None:
    assert len(speak("a\0red circle")[0]) > 2 * len(speak("a")[0])


def test_missing_wheel_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    for cached in (speech._loader_path, speech._languages, speech._home):
        cached.cache_clear()
    with pytest.raises(MissingExtraError, match=r"sensorium\[demo\]"):
        list_voices()
    with pytest.raises(MissingExtraError, match=r"sensorium\[demo\]"):
        speak("hello")


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    program = (
        "from sensorium.data.synthesis.speech import *; speak('hello'); import os; print(len(os.listdir('%s')))"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program % tmp_path], env=env, capture_output=True, check=True)
    assert done.stdout.strip() == b"1"
    assert list(tmp_path.iterdir()) == []


def test_voice_sets_share_no_speaker() -> None:
    training, held_out = voice_sets()
    assert len(set(training)) == len(training) >= 12
    assert len(set(held_out)) == len(held_out) >= 5
    assert not {voice.variant for voice in training} & {voice.variant for voice in held_out}
    assert {voice.name for voice in (*training, *held_out)} <= set(list_voices())
    assert {voice.variant for voice in (*training, *held_out)} - {""} <= set(list_variants())


def test_voice_sets_are_understood_and_others_are_not() -> None:
    templates = [_spoken_words(Voice()), _spoken_words(Voice(variant="f2"))]
    for voice in (voice for voices in voice_sets() for voice in voices):
        assert _num_recognised(voice, templates) >= 26, voice
    assert _num_recognised(Voice(variant="whisperf"), templates) < 24


def _spoken_words(voice: Voice) -> NDArray[np.float32]:
    return np.stack([_shape_of(*speak(word, voice)) for word in WORDS])


def _shape_of(samples_N: NDArray[np.float32], rate_hz: int, length: int = 30) -> NDArray[np.float32]:
    """Return the spoken part of a log-mel spectrogram, stretched to `length` frames and standardised."""
    value_TM = log_mel(torch.from_numpy(samples_N), rate_hz=rate_hz, num_mels=40).numpy()
    value_TM = np.maximum(value_TM, value_TM.max() - 12)
    loudness_T = value_TM.mean(1)
    spoken = np.flatnonzero(loudness_T > loudness_T.max() - 8)
    value_TM = value_TM[spoken[0] : spoken[-1] + 1]
    at = np.linspace(0, len(value_TM) - 1, length)
    shape = np.stack([np.interp(at, np.arange(len(value_TM)), band) for band in value_TM.T], axis=1)
    return (shape - shape.mean()) / shape.std()


def _num_recognised(voice: Voice, templates: list[NDArray[np.float32]]) -> int:
    said = _spoken_words(voice)
    distances = [np.square(said[:, None] - template[None]).mean((2, 3)) for template in templates]
    return int((np.minimum(*distances).argmin(1) == np.arange(len(WORDS))).sum())


def _pitch_hz(samples_N: NDArray[np.float32], rate_hz: int) -> float:
    """Return the median pitch by autocorrelation of voiced frames."""
    pitches = []
    size = int(0.04 * rate_hz)
    for start in range(0, len(samples_N) - size, size):
        frame = samples_N[start : start + size] - samples_N[start : start + size].mean()
        alike = np.correlate(frame, frame, "full")[size - 1 :]
        lag = int(rate_hz / 400) + int(alike[int(rate_hz / 400) : int(rate_hz / 60)].argmax())
        if alike[0] > 1e-3 * size and alike[lag] > 0.5 * alike[0]:
            pitches.append(rate_hz / lag)
    return float(np.median(pitches))


def test_writes_wav(tmp_path: Path) -> None:
    samples_N, rate_hz = speak("hello")
    path = tmp_path / "a.wav"
    write_wav(path, samples_N, rate_hz)
    again_N, again_hz = soundfile.read(path, dtype="float32")
    assert again_hz == rate_hz
    assert np.abs(again_N - samples_N).max() <= 1 / 32_768
    assert soundfile.info(path).subtype == "PCM_16"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="nowhere"):
        write_wav(tmp_path / "nowhere" / "a.wav", np.zeros(10, np.float32), 22_050)
