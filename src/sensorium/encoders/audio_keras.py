"""Sounds through a network that Keras saved.

Enters: (U, T, F) log-mel frames, or samples (F = 1).  Leaves: positions along time, or one position a sound.
Frames are made as for our own encoders: a network understands them if it was trained on such frames.
"""

from __future__ import annotations

from torch import Tensor

from sensorium.data.keras_audio import KerasAudioPreparer
from sensorium.encoders.audio_input import AudioInput
from sensorium.encoders.keras_input import KerasEncoder, KerasInput
from sensorium.encoders.outlet import Features


class AudioKeras(KerasEncoder):
    """Encode sounds with a saved network."""

    class Config(KerasInput, AudioInput):
        """Options of `audio.keras`."""

        def preparer(self) -> KerasAudioPreparer:  # type: ignore[override]
            """Make the (unfitted) preparer of these sounds."""
            return KerasAudioPreparer(self.source, self.layer, frames=AudioInput.preparer(self))

    modality = "audio"

    def features(self, values_UTF: Tensor, mask_UT: Tensor | None) -> Features:
        """Return (U, T', F') and the mask."""
        shape = self.preparer.network.shape
        values = values_UTF.float()
        values = values[..., None] if self.preparer.is_picture else values[..., 0] if len(shape) == 1 else values
        return self._along_time(values, mask_UT, shape[0])
