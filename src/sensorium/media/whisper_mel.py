"""Log-mel spectrogram as Whisper was trained on it (Radford et al. 2022, `audio.py`).

Enters: mono samples at 16 kHz, float32 (N,).  Leaves: float32 (T, 80), one frame every 10 ms.

    y[t, m] = log10 max(1e-10, sum_k bank[k, m] |STFT(x)[t, k]|²),   value = (max(y, max(y) - 8) + 4) / 4

Frame t is centred on sample 160 t.  After the clip there is silence up to the end of its last window, of which only
the first frame is kept: all others are equal to it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from sensorium.core.errors import MediaError
from sensorium.media.log_mel import FLOOR, mel_bank

RATE_HZ, NUM_MELS = 16_000, 80
FFT, HOP = 400, 160
FRAMES_PER_S = RATE_HZ // HOP


def whisper_log_mel(samples_N: Tensor, window_frames: int) -> Tensor:
    """Compute Whisper's log-mel values of a clip filled up with silence to a multiple of `window_frames`.

    Returns:
        (T, 80): the frames that hear the clip, and one more of the silence after it if there is any.

    Raises:
        MediaError: no samples, or more than one axis.
    """
    if samples_N.ndim != 1 or samples_N.numel() == 0:
        raise MediaError(f"a clip is one axis of samples, not {tuple(samples_N.shape)}")
    num = samples_N.numel()
    num_full = math.ceil(num / (window_frames * HOP)) * window_frames
    num_heard = math.ceil((num + FFT // 2) / HOP)
    num_frames = min(num_heard + 1, num_full)
    # Silence beyond the frames that are kept is not computed: it is long, and seen by no kept frame.
    padded = functional.pad(samples_N.float(), (0, min(num_full, num_frames + FFT // HOP) * HOP - num))
    window = torch.hann_window(FFT)
    spectrum_KT = torch.stft(padded, FFT, HOP, window=window, center=True, pad_mode="reflect", return_complex=True)
    power_KT = torch.view_as_real(spectrum_KT[:, :num_frames]).square().sum(-1)
    value_TM = (power_KT.T @ mel_bank(RATE_HZ, FFT, NUM_MELS, 0.0, None)).clamp_min(FLOOR).log10()
    return (value_TM.clamp_min(float(value_TM.max()) - 8.0) + 4.0) / 4.0
