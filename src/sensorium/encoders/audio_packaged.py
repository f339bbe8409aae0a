"""Sounds through a published network whose weights ship in a Python package.

Enters: (U, T, 80) frames of Whisper's own log-mel.  Leaves: 384 features every 20 ms.
`encoder = "packaged:whisper-tiny.en"`; see `media.packaged` for what the weights are.

Whisper heard every clip in a window of 30 s, filled up with silence; the time that takes does not depend on the
clip.  With a shorter `window_s` the silence is shorter, and a clip longer than the window is heard piece by piece.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.types import Encoded, MediaBatch
from sensorium.data.whisper_preparer import TRAINED_WINDOW_S, WhisperPreparer
from sensorium.encoders.audio_input import clean_frames
from sensorium.encoders.ctranslate2_file import read_ctranslate2
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.pretrained import assign
from sensorium.encoders.whisper import WhisperEncoder, WhisperSizes, named_as_here
from sensorium.media.packaged import packaged_files


class AudioPackaged(nn.Module):
    """Encode sounds with the encoder of Whisper "tiny.en".

    Args:
        config: how a sound is cut into windows.
        preparer: the preparer of that config (nothing is learned from it).
        width: D of the result.
    """

    class Config(Section):
        """Options of `audio.packaged`."""

        source: Literal["whisper-tiny.en"] = "whisper-tiny.en"
        """Which packaged weights."""
        window_s: float = Field(TRAINED_WINDOW_S, gt=0, le=TRAINED_WINDOW_S)
        """Seconds heard at once; what the clip leaves of them is silence.  30 is what the weights know."""
        max_seconds: float = Field(30.0, gt=0)
        """Longer clips are cut there, and counted."""
        lead_s: float = Field(0.0, ge=0, lt=TRAINED_WINDOW_S)
        """Seconds of silence set before a clip, of which no features leave: clips that begin with their first sound
        are then heard as those that the weights know, which begin before it."""

        def preparer(self) -> WhisperPreparer:
            """Make the preparer of these sounds."""
            return WhisperPreparer(window_s=self.window_s, max_seconds=self.max_seconds, lead_s=self.lead_s)

    modality = "audio"
    stride = 2
    """Frames that a position joins."""

    def __init__(self, config: Config, preparer: object, width: int) -> None:
        super().__init__()
        self.width = width
        self.source = config.source
        layout = config.preparer()
        self.window_frames, self.num_lead = layout.window_frames, layout.lead_frames // self.stride
        self.trunk = WhisperEncoder(WhisperSizes())
        self.feature_width = self.trunk.width
        self.outlet = Outlet(self.feature_width, width)

    def load_pretrained(self) -> Self:
        """Load the packaged encoder into the trunk; returns self.  Raises MissingExtraError, ModelError."""
        path = packaged_files(self.source)["model.bin"]
        assign(self.trunk, named_as_here(read_ctranslate2(path, "WhisperSpec")), where=str(path))
        return self

    def features(self, values_UTM: Tensor, mask_UT: Tensor | None) -> Features:
        """Return (U, ceil(T / 2), 384) and the mask, without the silence before the clips."""
        mel_UTM, mask_UT = clean_frames(values_UTM, mask_UT, self.outlet.absent_D.dtype)
        num, length = mask_UT.shape
        window_UKTM, is_heard_UK = windows(mel_UTM, mask_UT, self.window_frames)
        heard_NTF = self.trunk(window_UKTM[is_heard_UK])
        x_UKTF = heard_NTF.new_zeros(*is_heard_UK.shape, *heard_NTF.shape[1:])
        x_UKTF[is_heard_UK] = heard_NTF
        x_UTF = x_UKTF.view(num, -1, self.feature_width)[:, : (length + 1) // 2]
        return x_UTF[:, self.num_lead :], mask_UT[:, :: self.stride][:, self.num_lead :]

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, ceil(T / 2), width)."""
        return encode(self, media)


def windows(mel_UTM: Tensor, mask_UT: Tensor, window_frames: int) -> tuple[Tensor, Tensor]:
    """Cut clips into windows, each clip's last frame, silence, repeated to the end of its last one.

    Returns:
        (U, K, window_frames, M), and which windows hold anything of their clip, (U, K) bool.
    """
    num, length, num_mels = mel_UTM.shape
    num_windows = -(-length // window_frames)
    length_U1 = mask_UT.sum(1, keepdim=True)
    place_T = torch.arange(num_windows * window_frames, device=mel_UTM.device)
    source_UT = place_T.expand(num, -1).minimum((length_U1 - 1).clamp_min(0))
    filled_UTM = mel_UTM.gather(1, source_UT[..., None].expand(-1, -1, num_mels))
    start_K = torch.arange(num_windows, device=mel_UTM.device) * window_frames
    return filled_UTM.view(num, num_windows, window_frames, num_mels), start_K < length_U1
