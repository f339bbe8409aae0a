"""Each picture through an image encoder, then the pictures through time.

Enters: (U, N, 3, S + 1, S) uint8, pictures and their times.  Leaves: a position a picture, or one a clip.

    frame    f_n = W [grid of the image encoder, all places side by side, or their mean] + time(t_n)
    mean     the mean of GELU(LayerNorm(f_n)) over the clip: what is there, in no order
    gru      a bidirectional GRU over f_n (Cho et al. 2014)
    transformer   pre-norm self-attention over f_n (Vaswani et al. 2017)

The image encoder is any of ours or of third parties, by its registered name and with its own options.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from sensorium.core import registry
from sensorium.core.config import Section
from sensorium.core.errors import ConfigError, SensoriumError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Encoded, MediaBatch
from sensorium.data.image_preparer import ImagePreparer
from sensorium.data.published_image import PublishedImagePreparer
from sensorium.data.published_video import PublishedVideoPreparer
from sensorium.data.video_preparer import VideoPreparer
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.recurrence import Recurrence
from sensorium.encoders.registry import ENCODERS, ENTRY_POINTS
from sensorium.encoders.self_attention import EncoderBlock
from sensorium.encoders.time_embedding import TimeEmbedding
from sensorium.encoders.video_input import VideoInput, pictures_and_times


class VideoFrames(nn.Module):
    """Encode clips picture by picture.

    Args:
        config: sizes, and the image encoder.
        preparer: the video preparer (nothing is learned from it but a published network's shape).
        width: D of the result.
    """

    class Config(VideoInput):
        """Options of `video.frames`."""

        frame_encoder: dict[str, Any] = Field({"encoder": "cnn"}, validate_default=True)
        """An image encoder: its name, or a section of `encoder` and that encoder's options (`size`, ...)."""
        places: Literal["all", "mean"] = "all"
        """Where in the picture: keep the grid's places apart, or average over them."""
        over_time: Literal["mean", "gru", "transformer"] = "gru"
        hidden: int = Field(128, ge=2, le=65_536, multiple_of=2)
        layers: int = Field(1, ge=1, le=64)
        """Of the GRU or Transformer."""
        heads: int = Field(4, ge=1, le=128)
        """Of the Transformer."""
        dropout: float = Field(0.1, ge=0.0, lt=1.0)

        @field_validator("frame_encoder", mode="before")
        @classmethod
        def _named(cls, given: Any) -> Any:
            given = {"encoder": given} if isinstance(given, str) else given
            if not isinstance(given, Mapping) or not isinstance(given.get("encoder"), str):
                raise ValueError("name an image encoder, or give a section with a key 'encoder'")
            try:
                kind, options = registry.split_source(given["encoder"], given)
            except ConfigError as error:
                raise ValueError(str(error)) from None
            return {**options, "encoder": kind}

        @model_validator(mode="after")
        def _fits(self) -> Self:
            if self.over_time == "transformer" and self.hidden % self.heads:
                raise ValueError(f"hidden ({self.hidden}) must be a multiple of heads ({self.heads})")
            try:
                made = self.frame_options.preparer()  # type: ignore[attr-defined]
            except SensoriumError as error:
                raise ValueError(f"frame_encoder: {error}") from None
            if isinstance(made, PublishedImagePreparer) and self.rate_hz is not None:
                raise ValueError("a published frame_encoder reads num_frames pictures of a clip, not some a second")
            if not isinstance(made, ImagePreparer | PublishedImagePreparer):
                raise ValueError("frame_encoder reads no pixels; choose cnn, vit, resnet18 or another that does")
            return self

        @cached_property
        def frame_class(self) -> Any:
            """The image encoder's class."""
            return registry.load(ENCODERS, ENTRY_POINTS, f"image.{self.frame_encoder['encoder']}")

        @cached_property
        def frame_options(self) -> Section:
            """The image encoder's options, validated."""
            rest = {key: value for key, value in self.frame_encoder.items() if key != "encoder"}
            options: Section = self.frame_class.Config.parse(rest, prefix="frame_encoder")
            return options

        @property
        def augments(self) -> bool:
            """Say whether training changes the pictures."""
            return bool(getattr(self.frame_options, "augments", False))

        @property
        def weights(self) -> Any:
            """Return the image encoder's file of published weights, if it names one."""
            return getattr(self.frame_options, "weights", None)

        @property
        def source(self) -> Any:
            """Return the source of the image encoder's published network, if it has one."""
            return getattr(self.frame_options, "source", None)

        def preparer(self) -> VideoPreparer | PublishedVideoPreparer:
            """Make the (unfitted) preparer of these clips."""
            frame = self.frame_options.preparer()  # type: ignore[attr-defined]
            if isinstance(frame, PublishedImagePreparer):
                return PublishedVideoPreparer(
                    frame.source, frame.revision, exact=self.exact, num_frames=self.num_frames, size=frame.size
                )
            return VideoPreparer(
                num_frames=self.num_frames,
                rate_hz=self.rate_hz,
                max_frames=self.max_frames,
                exact=self.exact,
                size=frame.size,
                resize=frame.resize,
            )

    modality = "video"

    def __init__(self, config: Config, preparer: Preparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.keeps_places = config.places == "all"
        self.feature_width = config.hidden
        self.frame = config.frame_class(config.frame_options, preparer.frame, config.hidden)  # type: ignore[attr-defined]
        num_places = self._num_places(*preparer.collate([])[0].shape[-2:])
        # An image's way into a model is replaced by this encoder's own: nothing of it would ever learn.
        self.frame.outlet = nn.Identity()
        frame_width = self.frame.feature_width * (num_places if self.keeps_places else 1)
        self.norm = nn.LayerNorm(self.frame.feature_width)
        self.project = nn.Linear(frame_width, config.hidden)
        self.time = TimeEmbedding(config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.trunk = _OVER_TIME[config.over_time](config)
        self.outlet = Outlet(config.hidden, width)

    @torch.no_grad()
    def _num_places(self, lines: int, columns: int) -> int:
        """Ask the image encoder how many places it gives a picture; the last line holds its time."""
        self.frame.eval()
        x_1PF, _ = self.frame.features(torch.zeros(1, 3, lines - 1, columns, dtype=torch.uint8), None)
        self.frame.train()
        return int(x_1PF.shape[1])

    def load_pretrained(self) -> Self:
        """Load the image encoder's published weights, if it names some; returns self.  Raises ModelError."""
        if hasattr(self.frame, "load_pretrained"):
            self.frame.load_pretrained()
        return self

    def features(self, values: Tensor, mask_UN: Tensor | None) -> Features:
        """Return a vector a picture, (U, N, hidden), or a clip, (U, 1, hidden), and the mask."""
        picture_UNCSS, time_UN, mask_UN = pictures_and_times(values, mask_UN)
        # Padding is no picture: it must not reach the image encoder's batch statistics.
        x_RPF, _ = self.frame.features(picture_UNCSS[mask_UN], None)
        x_RPF = self.norm(x_RPF)
        x_RH = self.project(x_RPF.flatten(1) if self.keeps_places else x_RPF.mean(1))
        x_UNH = x_RH.new_zeros(*mask_UN.shape, x_RH.shape[1]).masked_scatter(mask_UN[..., None], x_RH)
        x_UNH = self.dropout(x_UNH + self.time(time_UN)) * mask_UN[..., None]
        found: Features = self.trunk(x_UNH, mask_UN)
        return found

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, N or 1, width)."""
        return encode(self, media)


class MeanOverTime(nn.Module):
    """The mean of GELU(LayerNorm(x)) over each clip's pictures."""

    def __init__(self, config: VideoFrames.Config) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden)

    def forward(self, x_UNH: Tensor, mask_UN: Tensor) -> Features:
        """Return (U, 1, hidden) and its mask."""
        x_UNH = nn.functional.gelu(self.norm(x_UNH)) * mask_UN[..., None]
        mean_U1H = x_UNH.sum(1, keepdim=True) / mask_UN.sum(1)[:, None, None].clamp_min(1)
        return mean_U1H, mask_UN.any(1, keepdim=True)


class GRUOverTime(nn.Module):
    """A bidirectional GRU over the pictures."""

    def __init__(self, config: VideoFrames.Config) -> None:
        super().__init__()
        self.recurrence = Recurrence("gru", config.hidden, config.hidden, config.layers, True, config.dropout)

    def forward(self, x_UNH: Tensor, mask_UN: Tensor) -> Features:
        """Return (U, N, hidden) and the mask."""
        return self.recurrence(x_UNH, mask_UN), mask_UN


class TransformerOverTime(nn.Module):
    """Self-attention over the pictures; their order is in the time embedding."""

    def __init__(self, config: VideoFrames.Config) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            EncoderBlock(config.hidden, config.heads, 4 * config.hidden, config.dropout)
            for _ in range(config.layers)
        )

    def forward(self, x_UNH: Tensor, mask_UN: Tensor) -> Features:
        """Return (U, N, hidden) and the mask."""
        for block in self.blocks:
            x_UNH = block(x_UNH, mask_UN)
        return x_UNH, mask_UN


_OVER_TIME: Mapping[str, type[nn.Module]] = {
    "mean": MeanOverTime,
    "gru": GRUOverTime,
    "transformer": TransformerOverTime,
}
