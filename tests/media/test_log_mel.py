"""Log-mel against an independent reading of the definition in numpy, in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import ConfigError, MediaError
from sensorium.media.log_mel import FLOOR, log_mel, mel_bank, num_frames


def slaney_hz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * math.exp(math.log(6.4) / 27 * (mel - 15))


def slaney_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def reference(samples: np.ndarray, rate_hz: int, num_mels: int, window: int, hop: int) -> np.ndarray:
    """One frame, one filter, one bin at a time."""
    num_fft = 1
    while num_fft < window:
        num_fft *= 2
    frames = 1 + math.ceil(max(len(samples) - window, 0) / hop)
    padded = np.zeros((frames - 1) * hop + window)
    padded[: len(samples)] = samples
    hann = np.array([0.5 - 0.5 * math.cos(2 * math.pi * n / window) for n in range(window)])
    top = slaney_mel(rate_hz / 2)
    edges = [slaney_hz(top * i / (num_mels + 1)) for i in range(num_mels + 2)]
    result = np.zeros((frames, num_mels))
    for t in range(frames):
        power = np.abs(np.fft.rfft(padded[t * hop : t * hop + window] * hann, num_fft)) ** 2
        for m in range(num_mels):
            low, centre, high = edges[m : m + 3]
            energy = 0.0
            for k, value in enumerate(power):
                hz = k * rate_hz / num_fft
                weight = max(0.0, min((hz - low) / (centre - low), (high - hz) / (high - centre)))
                energy += weight * 2 / (high - low) * value
            result[t, m] = math.log(max(energy, FLOOR))
    return result


@pytest.mark.parametrize(
    ("num_samples", "rate_hz", "num_mels", "window_s", "hop_s"),
    [(1700, 16_000, 40, 0.025, 0.010), (900, 8000, 80, 0.032, 0.016), (2000, 22_050, 20, 0.025, 0.0125)],
)
def test_equals_the_reference(num_samples: int, rate_hz: int, num_mels: int, window_s: float, hop_s: float) -> None:
    samples = np.random.default_rng(0).standard_normal(num_samples).astype(np.float32) * 0.1
    result = log_mel(torch.from_numpy(samples), rate_hz, num_mels, window_s, hop_s)
    expected = reference(samples, rate_hz, num_mels, round(window_s * rate_hz), round(hop_s * rate_hz))
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), expected, atol=2e-4)


def test_a_tone_lights_its_own_filter() -> None:
    times = torch.arange(16_000) / 16_000
    mean_M = log_mel(torch.sin(2 * torch.pi * 1000 * times)).mean(0)
    centres = [slaney_hz(slaney_mel(8000) * (m + 1) / 81) for m in range(80)]
    assert centres[int(mean_M.argmax())] == pytest.approx(1000, abs=40)


def test_filters_have_unit_area() -> None:
    # Finely sampled, each triangle sums to 1 over Hz.
    bank_KM = mel_bank(16_000, 1 << 16, 80, 0.0, None)
    np.testing.assert_allclose(bank_KM.sum(0).numpy() * 16_000 / (1 << 16), 1, atol=1e-3)


def test_silence_is_the_floor_and_stays_finite() -> None:
    result = log_mel(torch.zeros(5000))
    np.testing.assert_allclose(result.numpy(), math.log(FLOOR), rtol=1e-6)


def test_a_click_lies_in_the_frames_that_cover_it() -> None:
    samples = torch.zeros(1600)
    samples[800] = 1.0
    lit = (log_mel(samples).amax(1) > math.log(FLOOR) + 1).nonzero()[:, 0].tolist()
    # Frame t covers [160 t, 160 t + 400); Hann is zero at its first sample, where frame 5 would start.
    assert lit == [3, 4]


@given(st.integers(1, 5000))
@settings(max_examples=40, deadline=None)
def test_every_sample_lies_in_a_frame(num_samples: int) -> None:
    result = log_mel(torch.ones(num_samples))
    assert result.shape == (num_frames(num_samples, 16_000), 80)
    assert (len(result) - 1) * 160 + 400 >= num_samples
    assert len(result) == 1 or (len(result) - 2) * 160 + 400 < num_samples


def test_padding_behind_a_clip_changes_no_earlier_frame() -> None:
    samples = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    whole = log_mel(torch.cat([samples, torch.zeros(4000)]))
    np.testing.assert_allclose(log_mel(samples).numpy(), whole[: num_frames(4000, 16_000)].numpy(), atol=1e-5)


def test_bad_settings_and_shapes_are_named() -> None:
    samples = torch.zeros(1000)
    with pytest.raises(ConfigError, match="too narrow"):
        log_mel(samples, num_mels=400)
    with pytest.raises(ConfigError, match="do not fit a rate"):
        log_mel(samples, high_hz=9000.0)
    with pytest.raises(ConfigError, match="make no spectrogram"):
        log_mel(samples, hop_s=0.0)
    for shape in ((0,), (2, 100)):
        with pytest.raises(MediaError, match="one axis of samples"):
            log_mel(torch.zeros(shape))
