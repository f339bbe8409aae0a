"""Log-mel spectrogram of one clip.

Enters: mono samples, float32 (N,).  Leaves: log energies, float32 (T, num_mels), natural log.

    log_mel[t, m] = log max(floor, sum_k bank[k, m] |STFT(x)[t, k]|^2)

Mel scale and filter areas are Slaney's (Auditory Toolbox, Technical Report 1998-010, `mfcc`): linear
below 1 kHz, logarithmic above, each triangle of area 1 over Hz; the scale of librosa and Whisper.
The window is a periodic Hann window.  Frame t covers samples [t hop, t hop + window): no centring, no
reflection; zeros follow the last sample so that every sample lies in a frame.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional

from sensorium.core.errors import ConfigError, MediaError

FLOOR = 1e-10

_LINEAR_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = torch.tensor(6.4, dtype=torch.float64).log() / 27  # 27 mels from 1 kHz to 6.4 kHz


def num_frames(num_samples: int, rate_hz: int, window_s: float = 0.025, hop_s: float = 0.010) -> int:
    """Count the frames that `log_mel` makes of `num_samples`: at least 1."""
    window, hop = round(window_s * rate_hz), round(hop_s * rate_hz)
    return 1 + -(-max(num_samples - window, 0) // hop)


def log_mel(
    samples_N: Tensor,
    rate_hz: int = 16_000,
    num_mels: int = 80,
    window_s: float = 0.025,
    hop_s: float = 0.010,
    low_hz: float = 0.0,
    high_hz: float | None = None,
    floor: float = FLOOR,
) -> Tensor:
    """Compute log-mel energies, float32 (T, num_mels), T = `num_frames(N, ...)`.

    Args:
        samples_N: (N,) float32 mono, N >= 1.
        high_hz: upper edge of the last filter; None = rate_hz / 2.
        floor: the least energy, so that silence is log(floor) and not -inf.

    Raises:
        ConfigError: settings that leave a filter without any frequency bin.
        MediaError: no samples, or more than one axis.
    """
    if samples_N.ndim != 1 or samples_N.numel() == 0:
        raise MediaError(f"a clip is one axis of samples, not {tuple(samples_N.shape)}")
    window, hop = round(window_s * rate_hz), round(hop_s * rate_hz)
    if window < 2 or hop < 1:
        raise ConfigError(f"a window of {window} and a hop of {hop} samples make no spectrogram at {rate_hz} Hz")
    num_fft = 1 << (window - 1).bit_length()
    bank_KM = mel_bank(rate_hz, num_fft, num_mels, low_hz, high_hz)
    frames = num_frames(samples_N.numel(), rate_hz, window_s, hop_s)
    # torch.stft centres the window inside num_fft; the left margin puts frame 0 on sample 0.
    left = (num_fft - window) // 2
    right = (frames - 1) * hop + num_fft - left - samples_N.numel()
    padded = functional.pad(samples_N.float(), (left, right))
    spectrum_KT = torch.stft(padded, num_fft, hop, window, _hann(window), center=False, return_complex=True)
    power_KT = torch.view_as_real(spectrum_KT).square().sum(-1)
    return (power_KT.T @ bank_KM).clamp_min(floor).log()


def hz_to_mel(hz: Tensor) -> Tensor:
    """Map Hz to Slaney's mel: f / 66.67 below 1 kHz, 15 + 27 log(f / 1000) / log 6.4 above."""
    above = _BREAK_MEL + (hz.clamp_min(_BREAK_HZ) / _BREAK_HZ).log() / _LOG_STEP
    return torch.where(hz < _BREAK_HZ, hz / _LINEAR_HZ_PER_MEL, above)


def mel_to_hz(mel: Tensor) -> Tensor:
    """Invert `hz_to_mel`."""
    above = _BREAK_HZ * ((mel - _BREAK_MEL) * _LOG_STEP).exp()
    return torch.where(mel < _BREAK_MEL, mel * _LINEAR_HZ_PER_MEL, above)


@functools.lru_cache(maxsize=32)
def mel_bank(rate_hz: int, num_fft: int, num_mels: int, low_hz: float, high_hz: float | None) -> Tensor:
    """Build the triangular filters, float32 (num_fft // 2 + 1, num_mels), each of area 1 over Hz.

    Raises:
        ConfigError: edges out of order, or a filter narrower than the bins.
    """
    high = rate_hz / 2 if high_hz is None else high_hz
    if not 0 <= low_hz < high <= rate_hz / 2:
        raise ConfigError(f"mel filters from {low_hz:g} to {high:g} Hz do not fit a rate of {rate_hz} Hz")
    bin_K = torch.arange(num_fft // 2 + 1, dtype=torch.float64) * rate_hz / num_fft
    ends = hz_to_mel(torch.tensor([low_hz, high], dtype=torch.float64))
    edge = mel_to_hz(torch.linspace(float(ends[0]), float(ends[1]), num_mels + 2, dtype=torch.float64))
    low_M, centre_M, high_M = edge[:-2], edge[1:-1], edge[2:]
    rise_KM = (bin_K[:, None] - low_M) / (centre_M - low_M)
    fall_KM = (high_M - bin_K[:, None]) / (high_M - centre_M)
    bank_KM = torch.minimum(rise_KM, fall_KM).clamp_min(0) * (2 / (high_M - low_M))
    if (bank_KM.sum(0) == 0).any():
        raise ConfigError(
            f"{num_mels} mel filters are too narrow for {num_fft} points at {rate_hz} Hz",
            advice="ask for fewer mels, or a longer window",
        )
    return bank_KM.float()


@functools.lru_cache(maxsize=8)
def _hann(window: int) -> Tensor:
    return torch.hann_window(window)
