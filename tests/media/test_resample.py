"""The resampler against scipy's, and against what a filter must do."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.media.resample import Resampler, prototype, resample

RATES = [
    (8000, 16_000),
    (16_000, 8000),
    (48_000, 16_000),
    (44_100, 16_000),
    (22_050, 16_000),
    (16_000, 44_100),
    (7, 3),
]


def noise(num_samples: int) -> np.ndarray:
    return np.random.default_rng(num_samples).standard_normal(num_samples).astype(np.float32)


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
@pytest.mark.parametrize("num_samples", [1, 5, 1000, 30_011])
def test_equals_scipy(rate_in: int, rate_out: int, num_samples: int) -> None:
    signal = pytest.importorskip("scipy.signal")
    ratio = Fraction(rate_out, rate_in)
    up, down = ratio.numerator, ratio.denominator
    samples = noise(num_samples)
    expected = signal.resample_poly(samples.astype(np.float64), up, down, window=prototype(up, down) / up)
    np.testing.assert_allclose(resample(samples, rate_in, rate_out), expected, atol=5e-6)


def test_prototype_equals_scipys_window_method() -> None:
    signal = pytest.importorskip("scipy.signal")
    from sensorium.media.resample import BETA, NUM_ZEROS, ROLLOFF

    expected = 3 * signal.firwin(2 * NUM_ZEROS * 7 + 1, ROLLOFF / 7, window=("kaiser", BETA))
    np.testing.assert_allclose(prototype(3, 7), expected, atol=1e-12)


@given(
    st.sampled_from([*RATES, (44_101, 16_000), (999, 1000)]),
    st.lists(st.integers(0, 3000), min_size=1, max_size=8),
)
@settings(max_examples=30, deadline=None)
def test_blocks_make_no_difference(rates: tuple[int, int], sizes: list[int]) -> None:
    samples = noise(sum(sizes))
    stream = Resampler(*rates)
    parts = [stream.push(block) for block in np.split(samples, np.cumsum(sizes)[:-1])]
    joined = np.concatenate([*parts, stream.flush()])
    np.testing.assert_allclose(joined, resample(samples, *rates), atol=5e-6)
    assert len(joined) == -(-len(samples) * rates[1] // rates[0])


@pytest.mark.parametrize(("rate_in", "rate_out"), [(48_000, 16_000), (44_100, 16_000), (8000, 16_000)])
def test_pass_band_is_flat_and_stop_band_silent(rate_in: int, rate_out: int) -> None:
    nyquist = min(rate_in, rate_out) / 2

    def gain(frequency_hz: float) -> float:
        times = np.arange(rate_in) / rate_in
        result = resample(np.cos(2 * np.pi * frequency_hz * times).astype(np.float32), rate_in, rate_out)
        middle = result[len(result) // 4 : -len(result) // 4]
        return float(np.sqrt(2 * np.mean(middle**2)))

    for share in (0.01, 0.3, 0.8):
        assert 20 * np.log10(gain(share * nyquist)) == pytest.approx(0, abs=0.01)
    if rate_in > rate_out:
        assert 20 * np.log10(gain(1.05 * nyquist) + 1e-12) < -80


@pytest.mark.parametrize(("rate_in", "tolerance"), [(44_101, 1e-3), (96_001, 0.05)])
def test_odd_rates_stay_in_time(rate_in: int, tolerance: float) -> None:
    """Terms too large for a table give way to the nearest fraction, which keeps length and pitch."""
    times = np.arange(rate_in * 2) / rate_in
    result = resample(np.sin(2 * np.pi * 440 * times).astype(np.float32), rate_in, 16_000)
    expected = np.sin(2 * np.pi * 440 * np.arange(len(result)) / 16_000)
    assert abs(len(result) - 32_000) <= 1
    np.testing.assert_allclose(result[500:-500], expected[500:-500], atol=tolerance)


@pytest.mark.parametrize("rate_in", [1, 3, 999_983])
def test_extreme_rates_are_survived(rate_in: int) -> None:
    assert np.isfinite(resample(noise(50), rate_in, 16_000)).all()
