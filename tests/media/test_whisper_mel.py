"""Log-mel values equal those of transformers' WhisperFeatureExtractor."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sensorium.core.errors import ConfigError, DataError, MediaError
from sensorium.core.types import Media
from sensorium.data.whisper_preparer import WhisperPreparer
from sensorium.media.whisper_mel import RATE_HZ, whisper_log_mel


def clip(num: int) -> torch.Tensor:
    torch.manual_seed(num)
    return torch.randn(num) * torch.linspace(0.5, 0.01, num)


# a sample, a word, just under a frame, one window to the sample, and a clip of two windows
@pytest.mark.parametrize("num", [1, 4_768, 8_001, 30 * RATE_HZ - 1, 30 * RATE_HZ, 31 * RATE_HZ])
def test_equals_whispers_own_and_leaves_only_silence_out(num: int) -> None:
    transformers = pytest.importorskip("transformers")
    samples_N = clip(num)
    got_TM = whisper_log_mel(samples_N, 3000)
    num_windows = math.ceil(num / (30 * RATE_HZ))
    full_N = np.pad(samples_N.numpy(), (0, num_windows * 30 * RATE_HZ - num))
    extract = transformers.WhisperFeatureExtractor()
    want = extract(full_N, sampling_rate=RATE_HZ, truncation=False, padding="longest", return_tensors="np")
    want_TM = want.input_features[0].T
    assert len(want_TM) == num_windows * 3000
    assert np.abs(want_TM[: len(got_TM)] - got_TM.numpy()).max() < 2e-6
    rest_TM = want_TM[len(got_TM) :]
    assert not len(rest_TM) or np.abs(rest_TM - got_TM[-1].numpy()).max() < 2e-6
    assert len(got_TM) <= num / 160 + 4


def test_bad_samples_and_settings() -> None:
    with pytest.raises(MediaError, match="one axis"):
        whisper_log_mel(torch.zeros(0), 3000)
    with pytest.raises(ConfigError, match="window_s is 31"):
        WhisperPreparer(window_s=31)
    with pytest.raises(ConfigError, match="max_seconds"):
        WhisperPreparer(max_seconds=math.nan)
    with pytest.raises(DataError, match="not str"):
        WhisperPreparer()("text")


def test_long_clips_are_cut_and_counted(wav: Media) -> None:
    preparer = WhisperPreparer(window_s=0.1, max_seconds=0.2)
    assert preparer.window_frames == 10
    assert len(preparer(wav)) == 20
    assert preparer.truncated == 1


def test_the_fingerprint_knows_the_window() -> None:
    assert WhisperPreparer(window_s=2).fingerprint == WhisperPreparer(window_s=2).fingerprint
    assert WhisperPreparer(window_s=2).fingerprint != WhisperPreparer(window_s=3).fingerprint


@pytest.fixture
def wav() -> Media:
    """A second of sound."""
    import io

    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, (clip(RATE_HZ) / 4).numpy(), RATE_HZ, format="WAV")
    return Media(data=buffer.getvalue())
