"""Sounds as a network which Keras saved reads them: frames of a log-mel spectrogram, or the samples.

Enters: `Media`.  Leaves: (T, F): as many mel bands as the network reads, or samples, of which F is 1.  A network of
a fixed length is given no more than that; the encoder fills shorter clips up with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sensorium.core.errors import DataError
from sensorium.core.types import Item, Media
from sensorium.data.hiding import HiddenFrames
from sensorium.data.keras_preparer import KerasPreparer
from sensorium.data.log_mel_preparer import LogMelPreparer
from sensorium.data.preparation import fingerprint_of, media_in
from sensorium.media.audio import read_audio
from sensorium.media.policy import MediaPolicy


class KerasAudioPreparer(KerasPreparer):
    """Decode a sound, and make frames of it where the network reads frames.

    Args:
        source: the file.
        layer: whose output is wanted; None = what the network itself puts out.
        frames: how frames are made; its number of bands is the network's, which is not asked of a network that
            reads samples, and its sample rate is that of samples, too.

    Attributes:
        truncated: clips cut so far, in this process.
        num_features: F.
        is_picture: the network reads frames as a picture of one channel.
    """

    modality = "audio"
    hiding = HiddenFrames()

    def __init__(self, source: str, layer: str | None = None, *, frames: LogMelPreparer) -> None:
        super().__init__(source, layer)
        self.frames = frames
        self.num_features, self.is_picture = 1, False
        self._length: int | None = None
        self._num_cut = 0

    @property
    def policy(self) -> MediaPolicy:
        """What may be opened."""
        return self.frames.policy

    @policy.setter
    def policy(self, policy: MediaPolicy) -> None:
        self.frames.policy = policy

    @property
    def truncated(self) -> int:
        """Count the clips cut so far, in this process."""
        return self.frames.truncated + self._num_cut

    def _settle(self) -> None:
        shape = self.network.shape
        is_picture = len(shape) == 3 and shape[2] == 1
        inner = shape[:2] if is_picture else (*shape, 1) if len(shape) == 1 else shape
        if self.network.is_integer or len(inner) != 2 or inner[1] not in (1, self.frames.num_mels):
            raise self._refused(f"samples (N,) or (N, 1), nor frames (T, {self.frames.num_mels}): see 'num_mels'")
        self._length, self.num_features = inner[0], int(inner[1])
        self.is_picture = is_picture

    def item(self, cell: str, folder: Path) -> Item:
        """Read a path relative to `folder`; None where the cell is blank."""
        return media_in(cell, folder)

    def __call__(self, item: Item) -> Tensor:
        """Return (T, F), T >= 1: float16 frames, or float32 samples.  Raises MediaError, DataError."""
        if not isinstance(item, Media):
            raise DataError(f"an audio input holds sounds, not {type(item).__name__}")
        value_TF = self.frames(item) if self.num_features > 1 else self._samples(item)
        if self._length is not None and len(value_TF) > self._length:
            self._num_cut += 1
            value_TF = value_TF[: self._length]
        return value_TF

    def _samples(self, item: Media) -> Tensor:
        samples_N = torch.from_numpy(read_audio(item, self.policy, self.frames.rate_hz))
        limit = max(round(self.frames.max_seconds * self.frames.rate_hz), 1)
        self._num_cut += len(samples_N) > limit
        return samples_N[:limit, None]

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Pad with zeros to (U, T, F); mask (U, T) bool."""
        if not values:
            return torch.zeros(0, 0, self.num_features), torch.zeros(0, 0, dtype=torch.bool)
        length_U = torch.tensor([len(value_TF) for value_TF in values])
        mask_UT = torch.arange(int(length_U.max())) < length_U[:, None]
        return pad_sequence(list(values), batch_first=True), mask_UT

    @property
    def fingerprint(self) -> str:
        """Name this preparation and the network.  Raises ModelError before `fit`."""
        return fingerprint_of(
            "keras_audio.1", file=self.file.digest, layer=self.layer, frames=self.frames.fingerprint
        )
