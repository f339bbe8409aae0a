"""Convolutions over space and time at once (Tran et al. 2015, C3D), small enough to train on a CPU.

Enters: (U, N, 3, S + 1, S) uint8, pictures and their times.  Leaves: a position a picture.

Each stage is a 3 x 3 x 3 convolution that halves the picture and keeps its moments, LayerNorm over the channels of
a place (batch statistics would read padding), and GELU.  What comes before a clip's first picture and after its
last is zero at every stage, so no padding changes a result.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.protocols import Preparer
from sensorium.core.types import Encoded, MediaBatch
from sensorium.data.image_preparer import Resize
from sensorium.data.video_preparer import VideoPreparer
from sensorium.encoders.image_input import Normalise
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.time_embedding import TimeEmbedding
from sensorium.encoders.video_input import VideoInput, pictures_and_times


class VideoCNN3d(nn.Module):
    """Encode clips with a few 3-D convolutions.

    Args:
        config: sizes.
        preparer: the video preparer (nothing is learned from it).
        width: D of the result.
    """

    class Config(VideoInput):
        """Options of `video.cnn3d`."""

        size: int = Field(64, ge=8, le=1024)
        resize: Resize = "stretch"
        channels: tuple[int, ...] = Field((16, 32, 64), min_length=1)
        """Channels after each stage; each stage halves the picture."""
        grid: int = Field(4, ge=1, le=64)
        """Places a side at the end."""
        hidden: int = Field(128, ge=1, le=65_536)
        dropout: float = Field(0.1, ge=0.0, lt=1.0)

        def preparer(self) -> VideoPreparer:
            """Make the (unfitted) preparer of these clips."""
            return VideoPreparer(
                num_frames=self.num_frames,
                rate_hz=self.rate_hz,
                max_frames=self.max_frames,
                exact=self.exact,
                size=self.size,
                resize=self.resize,
            )

    modality = "video"

    def __init__(self, config: Config, preparer: Preparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.feature_width = config.hidden
        self.grid = config.grid
        self.normalise = Normalise()
        ins = (3, *config.channels)
        self.trunk = nn.ModuleList(Stage(a, b) for a, b in zip(ins, config.channels, strict=False))
        self.project = nn.Linear(config.channels[-1] * config.grid**2, config.hidden)
        self.time = TimeEmbedding(config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.outlet = Outlet(self.feature_width, width)

    def features(self, values: Tensor, mask_UN: Tensor | None) -> Features:
        """Return (U, N, hidden) and the mask."""
        picture_UNCSS, time_UN, mask_UN = pictures_and_times(values, mask_UN)
        x_RCSS = self.normalise(picture_UNCSS.flatten(0, 1))
        is_real_U1N11 = mask_UN[:, None, :, None, None]
        x_UCNSS = x_RCSS.unflatten(0, mask_UN.shape).transpose(1, 2) * is_real_U1N11
        for stage in self.trunk:
            x_UCNSS = stage(x_UCNSS) * is_real_U1N11
        x_UNCGG = functional.adaptive_avg_pool3d(x_UCNSS, (None, self.grid, self.grid)).transpose(1, 2)
        x_UNH = functional.gelu(self.project(x_UNCGG.flatten(2))) + self.time(time_UN)
        return self.dropout(x_UNH) * mask_UN[..., None], mask_UN

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, N, width)."""
        return encode(self, media)


class Stage(nn.Module):
    """Convolution, LayerNorm over channels, GELU.

    Args:
        n_in: channels before.
        n_out: after.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(n_in, n_out, 3, stride=(1, 2, 2), padding=1)
        self.norm = nn.LayerNorm(n_out)

    def forward(self, x_UCNHW: Tensor) -> Tensor:
        """Return (U, n_out, N, H / 2, W / 2)."""
        y_UNHWC = self.convolution(x_UCNHW).movedim(1, -1)
        y_UCNHW: Tensor = functional.gelu(self.norm(y_UNHWC)).movedim(-1, 1)
        return y_UCNHW
