"""Sounds as log-mel spectrograms.

Enters: `Media`.  Leaves: float16 (T, num_mels), one frame every `hop_ms`; half precision halves caches
and costs 0.01 of a natural log unit at most.

Before it is normalised, a clip is clamped to `range_db` below its loudest value, so that digital silence
(log 1e-10) does not decide mean and variance; Whisper clamps at 80 dB too (Radford et al. 2022, `audio.py`).
A clip no part of which reaches -65 dB of full scale is silence, and becomes zeros: normalising would only
blow up the noise of its recording.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self, get_args

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.types import Item, Media
from sensorium.data.hiding import HiddenFrames
from sensorium.data.preparation import fingerprint_of, media_in
from sensorium.media.audio import read_audio
from sensorium.media.log_mel import log_mel
from sensorium.media.policy import MediaPolicy

Normalize = Literal["none", "clip", "mel"]

_SILENCE = 10 ** (-65 / 20)  # of full scale, as root mean square over a window

_LEAST_DEVIATION = 1e-2  # nats; a band of silence becomes zeros, not noise blown up


class LogMelPreparer:
    """Decode a sound to mono and compute its log-mel frames.

    Args:
        rate_hz: sample rate that every clip is brought to.
        num_mels: mel bands.
        window_ms: length of a frame.
        hop_ms: distance of frames.
        max_seconds: longer clips are cut there, and counted in `truncated`.
        normalize: "clip" brings each clip to mean 0 and deviation 1, "mel" each band of each clip
            (cepstral mean and variance normalisation of Kaldi), "none" leaves natural logs.
        range_db: how far below the loudest value of a clip anything counts, if normalised.
        half: float16 instead of float32.
        policy: what may be opened; None = the default caps.

    Attributes:
        truncated: clips cut so far, in this process.

    Raises:
        ConfigError: a setting out of range.
    """

    modality = "audio"
    hiding = HiddenFrames()

    def __init__(
        self,
        *,
        rate_hz: int = 16_000,
        num_mels: int = 80,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        max_seconds: float = 30.0,
        normalize: Normalize = "clip",
        range_db: float = 80.0,
        half: bool = True,
        policy: MediaPolicy | None = None,
    ) -> None:
        positive = {
            "rate_hz": rate_hz,
            "num_mels": num_mels,
            "window_ms": window_ms,
            "hop_ms": hop_ms,
            "max_seconds": max_seconds,
            "range_db": range_db,
        }
        for name, value in positive.items():
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} is {value}, it has to be above 0")
        if normalize not in get_args(Normalize):
            raise ConfigError(f"no normalisation is called '{normalize}'", advice="choose none, clip or mel")
        self.rate_hz, self.num_mels = rate_hz, num_mels
        self.window_ms, self.hop_ms = float(window_ms), float(hop_ms)
        self.max_seconds, self.range_db = float(max_seconds), float(range_db)
        self.normalize: Normalize = normalize
        self.half = half
        self.policy = policy or MediaPolicy()
        self.truncated = 0

    def item(self, cell: str, folder: Path) -> Item:
        """Read a path relative to `folder`; None where the cell is blank."""
        return media_in(cell, folder)

    def fit(self, items: Iterable[Item]) -> Self:
        """Learn nothing."""
        return self

    def __call__(self, item: Item) -> Tensor:
        """Return (T, num_mels), T >= 1.  Raises MediaError, DataError."""
        if not isinstance(item, Media):
            raise DataError(f"an audio input holds sounds, not {type(item).__name__}")
        samples_N = torch.from_numpy(read_audio(item, self.policy, self.rate_hz))
        limit = max(round(self.max_seconds * self.rate_hz), 1)
        if len(samples_N) > limit:
            self.truncated += 1
            samples_N = samples_N[:limit]
        value_TM = log_mel(
            samples_N,
            rate_hz=self.rate_hz,
            num_mels=self.num_mels,
            window_s=self.window_ms / 1000,
            hop_s=self.hop_ms / 1000,
        )
        if self.normalize != "none" and self._is_silent(samples_N):
            return torch.zeros_like(value_TM, dtype=self.dtype)
        return self._normalized(value_TM).to(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The type of what leaves."""
        return torch.float16 if self.half else torch.float32

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Pad with zeros to (U, T, num_mels); mask (U, T) bool."""
        if not values:
            return torch.zeros(0, 0, self.num_mels, dtype=self.dtype), torch.zeros(0, 0, dtype=torch.bool)
        length_U = torch.tensor([len(value) for value in values])
        mask_UT = torch.arange(int(length_U.max())) < length_U[:, None]
        return pad_sequence(list(values), batch_first=True), mask_UT

    @property
    def fingerprint(self) -> str:
        """Name this preparation."""
        return fingerprint_of(
            "log_mel.2",
            rate_hz=self.rate_hz,
            num_mels=self.num_mels,
            window_ms=self.window_ms,
            hop_ms=self.hop_ms,
            max_seconds=self.max_seconds,
            normalize=self.normalize,
            range_db=self.range_db,
            half=self.half,
        )

    def save(self, folder: Path) -> None:
        """Write nothing: nothing was learned."""

    def load(self, folder: Path) -> Self:
        """Read nothing."""
        return self

    def _is_silent(self, samples_N: Tensor) -> bool:
        window = max(round(self.window_ms / 1000 * self.rate_hz), 1)
        power_N = torch.nn.functional.pad(samples_N, (0, -len(samples_N) % window)).square()
        return not len(power_N) or bool(power_N.view(-1, window).mean(1).max() < _SILENCE**2)

    def _normalized(self, value_TM: Tensor) -> Tensor:
        if self.normalize == "none":
            return value_TM
        # log-mel is a natural log of power: 10 dB are ln 10.
        value_TM = value_TM.clamp_min(float(value_TM.max()) - self.range_db * math.log(10) / 10)
        axes = (0, 1) if self.normalize == "clip" else (0,)
        mean = value_TM.mean(axes, keepdim=True)
        deviation = (value_TM - mean).square().mean(axes, keepdim=True).sqrt()
        return (value_TM - mean) / deviation.clamp_min(_LEAST_DEVIATION)
