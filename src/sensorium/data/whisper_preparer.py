"""Sounds as Whisper hears them.

Enters: `Media`.  Leaves: float32 (T, 80), one frame every 10 ms, the last one of silence where the clip does not
fill its last window; see `media.whisper_mel`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.types import Item, Media
from sensorium.data.hiding import HiddenFrames
from sensorium.data.preparation import fingerprint_of, media_in
from sensorium.media.audio import read_audio
from sensorium.media.policy import MediaPolicy
from sensorium.media.whisper_mel import FRAMES_PER_S, NUM_MELS, RATE_HZ, whisper_log_mel

TRAINED_WINDOW_S = 30.0


class WhisperPreparer:
    """Decode a sound to mono at 16 kHz and compute Whisper's log-mel frames.

    Args:
        window_s: the clip is filled up with silence to a multiple of it, in steps of 20 ms.
        max_seconds: longer clips are cut there, and counted in `truncated`.
        lead_s: silence set before a clip, in steps of 20 ms, for clips that begin with their first sound.
        policy: what may be opened; None = the default caps.

    Attributes:
        window_frames: frames of a window, even.
        lead_frames: frames of the silence before a clip, even.
        truncated: clips cut so far, in this process.

    Raises:
        ConfigError: a setting out of range.
    """

    modality = "audio"
    rate_hz, hop_ms = RATE_HZ, 1000 / FRAMES_PER_S
    hiding = HiddenFrames()

    def __init__(
        self,
        *,
        window_s: float = TRAINED_WINDOW_S,
        max_seconds: float = 30.0,
        lead_s: float = 0.0,
        policy: MediaPolicy | None = None,
    ) -> None:
        if not 0 < window_s <= TRAINED_WINDOW_S:
            raise ConfigError(f"window_s is {window_s}, Whisper's windows last up to {TRAINED_WINDOW_S:g} s")
        if not (math.isfinite(max_seconds) and max_seconds > 0):
            raise ConfigError(f"max_seconds is {max_seconds}, it has to be above 0")
        if not 0 <= lead_s < window_s:
            raise ConfigError(f"lead_s is {lead_s}, it has to be shorter than a window of {window_s} s")
        self.lead_frames = 2 * round(lead_s * FRAMES_PER_S / 2)
        self.window_frames = 2 * math.ceil(window_s * FRAMES_PER_S / 2 - 1e-9)
        self.max_seconds = float(max_seconds)
        self.policy = policy or MediaPolicy()
        self.truncated = 0

    def item(self, cell: str, folder: Path) -> Item:
        """Read a path relative to `folder`; None where the cell is blank."""
        return media_in(cell, folder)

    def fit(self, items: Iterable[Item]) -> Self:
        """Learn nothing."""
        return self

    def __call__(self, item: Item) -> Tensor:
        """Return float32 (T, 80), T >= 1.  Raises MediaError, DataError."""
        if not isinstance(item, Media):
            raise DataError(f"an audio input holds sounds, not {type(item).__name__}")
        samples_N = torch.from_numpy(read_audio(item, self.policy, RATE_HZ))
        limit = max(round(self.max_seconds * RATE_HZ), 1)
        if len(samples_N) > limit:
            self.truncated += 1
            samples_N = samples_N[:limit]
        lead = self.lead_frames * RATE_HZ // FRAMES_PER_S
        return whisper_log_mel(functional.pad(samples_N, (lead, 0)), self.window_frames)

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Pad with zeros to (U, T, 80); mask (U, T) bool."""
        if not values:
            return torch.zeros(0, 0, NUM_MELS), torch.zeros(0, 0, dtype=torch.bool)
        length_U = torch.tensor([len(value) for value in values])
        mask_UT = torch.arange(int(length_U.max())) < length_U[:, None]
        return pad_sequence(list(values), batch_first=True), mask_UT

    @property
    def fingerprint(self) -> str:
        """Name this preparation."""
        lead = {"lead_frames": self.lead_frames} if self.lead_frames else {}
        return fingerprint_of("whisper.1", window_frames=self.window_frames, max_seconds=self.max_seconds, **lead)

    def save(self, folder: Path) -> None:
        """Write nothing: nothing was learned."""

    def load(self, folder: Path) -> Self:
        """Read nothing."""
        return self
