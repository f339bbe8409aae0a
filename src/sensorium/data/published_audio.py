"""Sounds as a published network's own feature extractor hears them: log-mel, filter banks, or the samples.

Enters: `Media`.  Leaves: float16 (T, F): frames of a spectrogram, or samples, of which F is 1.

Some extractors fill every clip up to one length (Whisper: 30 s).  What they fill it with is one frame, over and
over, and only the first of those is kept: the encoder repeats it.  So nothing is lost, and a cache holds what
sounds.  How an extractor lays out time, and whether it fills, is found by trying it on two short noises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sensorium.core.errors import DataError, ModelError
from sensorium.core.types import Item, Media
from sensorium.data.hiding import HiddenFrames
from sensorium.data.preparation import fingerprint_of, media_in
from sensorium.data.published import import_transformers, quietly
from sensorium.data.published_preparer import PublishedPreparer
from sensorium.media.audio import read_audio
from sensorium.media.policy import MediaPolicy

SHORTEST_S = 0.1
"""Shorter clips are filled up with silence: strided convolutions need something to stand on."""
_BEYOND_S = 1.0  # how much more than what an extractor keeps it is given, so that its last frames are its own


@dataclass(frozen=True)
class Layout:
    """What an extractor makes of a clip.

    Attributes:
        length: T, where every clip is filled up to one; else None.
        time_axis: of what it makes of one clip.
        num_features: F, 1 for samples.
        frames_a_second: how many frames (or samples) a second of sound has.
        tells_length: it makes an attention mask, so that clips of different lengths may be padded.
    """

    length: int | None
    time_axis: int
    num_features: int
    frames_a_second: float
    tells_length: bool


class PublishedAudioPreparer(PublishedPreparer):
    """Decode a sound and let the network's own extractor prepare it.

    Args:
        source: a folder, or a name on the hub.
        revision: a commit on the hub.
        max_seconds: longer clips are cut there, and counted in `truncated`, as are those that are longer than what
            the extractor fills clips up to.
        half: float16 instead of float32.
        policy: what may be opened; None = the default caps.

    Attributes:
        truncated: clips cut so far, in this process.
        layout: what the extractor makes of a clip, after `fit`.
    """

    modality = "audio"
    hiding = HiddenFrames()

    def __init__(
        self,
        source: str,
        revision: str | None = None,
        *,
        max_seconds: float = 30.0,
        half: bool = True,
        policy: MediaPolicy | None = None,
    ) -> None:
        super().__init__(source, revision)
        self.max_seconds, self.half = max_seconds, half
        self.policy = policy or MediaPolicy()
        self.truncated = 0
        self.layout = Layout(None, 0, 1, 1.0, False)

    def _open(self) -> Any:
        load = import_transformers().AutoFeatureExtractor.from_pretrained
        opened = self.published.opened(lambda folder: load(folder, trust_remote_code=False), "feature extractor")
        if not hasattr(opened, "sampling_rate"):
            raise ModelError("its processor prepares no sounds", where=self.source, advice="check the modality")
        return opened

    def _settle(self) -> None:
        rate_hz = int(self.processor.sampling_rate)
        num_samples = round(2 * SHORTEST_S * rate_hz)
        noise_N = np.float32(0.1) * np.random.default_rng(0).standard_normal(num_samples, dtype=np.float32)
        short, short_mask = self._extracted(noise_N[: len(noise_N) // 2])
        long, _ = self._extracted(noise_N)
        if short.ndim > 2:
            raise ModelError(f"its extractor makes {short.ndim} axes of a clip", where=self.source)
        fills = short.shape == long.shape
        axes = range(short.ndim)
        if fills:
            time_axis = max(axes, key=lambda axis: short.shape[axis] - _num_kept(np.moveaxis(short, axis, 0)))
            lengths = [_num_kept(np.moveaxis(x, time_axis, 0)) for x in (short, long)]
        else:
            time_axis = next(axis for axis in axes if short.shape[axis] != long.shape[axis])
            lengths = [x.shape[time_axis] for x in (short, long)]
        self.layout = Layout(
            short.shape[time_axis] if fills else None,
            time_axis,
            short.shape[1 - time_axis] if short.ndim == 2 else 1,
            (lengths[1] - lengths[0]) / (0.5 * len(noise_N) / rate_hz),
            short_mask,
        )

    def _extracted(self, samples_N: NDArray[np.float32]) -> tuple[NDArray[np.float32], bool]:
        """Return what the extractor makes of a clip, (N,), (T, F) or (F, T), and whether it makes a mask."""
        with quietly():
            made = self.processor(samples_N, sampling_rate=int(self.processor.sampling_rate), return_tensors="np")
        value = next(made[key][0] for key in self.processor.model_input_names if key in made)
        return np.asarray(value, dtype=np.float32), "attention_mask" in made

    def item(self, cell: str, folder: Path) -> Item:
        """Read a path relative to `folder`; None where the cell is blank."""
        return media_in(cell, folder)

    def __call__(self, item: Item) -> Tensor:
        """Return (T, F), T >= 1.  Raises MediaError, DataError."""
        if not isinstance(item, Media):
            raise DataError(f"an audio input holds sounds, not {type(item).__name__}")
        value, _ = self._extracted(self._cut(read_audio(item, self.policy, self.rate_hz)))
        value = np.moveaxis(value, self.layout.time_axis, 0).reshape(-1, self.layout.num_features)
        if self.layout.length is not None:
            value = value[: _num_kept(value) + 1]
        return torch.from_numpy(np.ascontiguousarray(value)).to(self.dtype)

    def _cut(self, samples_N: NDArray[np.float32]) -> NDArray[np.float32]:
        heard_s = self.filled_s
        if len(samples_N) > min(self.max_seconds, heard_s) * self.rate_hz:
            self.truncated += 1
            samples_N = samples_N[: round(min(self.max_seconds, heard_s + _BEYOND_S) * self.rate_hz)]
        missing = round(SHORTEST_S * self.rate_hz) - len(samples_N)
        return np.pad(samples_N, (0, missing)) if missing > 0 else samples_N

    @property
    def rate_hz(self) -> int:
        """The sample rate that the network hears."""
        return int(self.processor.sampling_rate)

    @property
    def filled_s(self) -> float:
        """How long the extractor makes every clip; infinite where it leaves lengths as they are."""
        length = self.layout.length
        return np.inf if length is None else length / self.layout.frames_a_second

    @property
    def hop_ms(self) -> float:
        """The distance of frames (or samples)."""
        return 1000 / self.layout.frames_a_second

    @property
    def dtype(self) -> torch.dtype:
        """The type of what leaves."""
        return torch.float16 if self.half else torch.float32

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Pad with zeros to (U, T, F); mask (U, T) bool."""
        if not values:
            empty = torch.zeros(0, 0, self.layout.num_features, dtype=self.dtype)
            return empty, torch.zeros(0, 0, dtype=torch.bool)
        length_U = torch.tensor([len(value) for value in values])
        mask_UT = torch.arange(int(length_U.max())) < length_U[:, None]
        return pad_sequence(list(values), batch_first=True), mask_UT

    def example(self) -> Tensor:
        """Return a clip as the network may be given, (1, T, F)."""
        length = self.layout.length or round(SHORTEST_S * self.layout.frames_a_second)
        return torch.zeros(1, length, self.layout.num_features)

    @property
    def fingerprint(self) -> str:
        """Name this preparation.  Raises ModelError before `fit`."""
        return fingerprint_of(
            "published_audio.1", files=self.published.digest, max_seconds=self.max_seconds, half=self.half
        )


def _num_kept(value_TF: NDArray[np.float32]) -> int:
    """Count the frames before the run of equal ones that a clip ends in."""
    differs_T = (value_TF != value_TF[-1]).reshape(len(value_TF), -1).any(1)
    return int(differs_T.nonzero()[0].max(initial=-1)) + 1
