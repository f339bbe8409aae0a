"""Make each training clip sound like another speaker, another pace, another room.

Enters: (U, T, F) normalised log-mel frames and their mask, in training.  Leaves: the same clips, each changed by
its own draw; outside training they pass untouched.  In this order:

    warp    frequencies scaled by 1 +- warp: longer and shorter vocal tracts (Jaitly and Hinton 2013)
    shift   the same, more crudely: the spectrum moved by whole bins
    speed   time scaled by 1 +- speed (Ko et al. 2015, speed perturbation, of frames instead of samples)
    noise   normal noise added to each value, of a deviation drawn up to `noise`
    masks   one band of bins and some runs of frames set to the mean of normalised frames, zero (Park et al.
            2019, SpecAugment)

Draws come from torch's generator, whose state a checkpoint holds: a resumed run goes on with the same ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.core.types import MediaBatch
from sensorium.encoders.audio_input import AudioInput, clean_frames
from sensorium.media.log_mel import hz_to_mel, mel_to_hz


class AugmentedAudioInput(AudioInput):
    """How a sound is prepared, and how training changes it; all changes are off by default."""

    warp: float = Field(0.0, ge=0.0, le=0.5)
    """In training, scale each clip's frequencies by up to this share: other speakers."""
    shift_bins: int = Field(0, ge=0, le=64)
    """In training, shift each clip's spectrum by up to so many mel bins: other speakers."""
    speed: float = Field(0.0, ge=0.0, le=0.5)
    """In training, play each clip faster or slower by up to this share."""
    noise: float = Field(0.0, ge=0.0, le=10.0)
    """In training, add noise of up to this deviation to the normalised frames."""
    mask_bins: int = Field(0, ge=0, le=64)
    """In training, hide a band of up to so many mel bins of each clip."""
    mask_frames: int = Field(0, ge=0, le=10_000)
    """In training, hide up to so many frames in a row, at most a fifth of a clip."""

    @property
    def augments(self) -> bool:
        """Say whether training changes anything."""
        return any((self.warp, self.shift_bins, self.speed, self.noise, self.mask_bins, self.mask_frames))

    @model_validator(mode="after")
    def _leaves_some_bins(self) -> Self:
        if max(self.shift_bins, self.mask_bins) >= self.num_mels:
            raise ValueError(f"shift_bins and mask_bins stay below num_mels = {self.num_mels}")
        return self


class SpectrumAugment(nn.Module):
    """Change clips in training, each by its own draw; nothing outside training.

    Args:
        options: how much; the mel bands are those of its preparer.
    """

    MOST_HIDDEN = 0.2
    """Share of a clip's frames that a mask hides at most: a short word stays a word."""

    def __init__(self, options: AugmentedAudioInput) -> None:
        super().__init__()
        self.options = options

    def forward(self, x_UTF: Tensor, mask_UT: Tensor) -> tuple[Tensor, Tensor]:
        """Return (U, T', F) and the mask (U, T'); T' differs from T only with `speed`.  Padding stays zero."""
        return self.changed(x_UTF, mask_UT) if self.training else (x_UTF, mask_UT)

    def media(self, media: MediaBatch) -> MediaBatch:
        """Return media changed as in training."""
        x_UTF, mask_UT = self.changed(*clean_frames(media.values, media.mask_UT, torch.float32))
        return replace(media, values=x_UTF, mask_UT=mask_UT)

    def changed(self, x_UTF: Tensor, mask_UT: Tensor) -> tuple[Tensor, Tensor]:
        """Change every clip; see `forward`."""
        options, num = self.options, len(x_UTF)
        if options.warp:
            x_UTF = warped(x_UTF, _around_one(num, options.warp, x_UTF), options.rate_hz)
        if options.shift_bins:
            x_UTF = shifted(x_UTF, options.shift_bins)
        if options.speed:
            x_UTF, mask_UT = stretched(x_UTF, mask_UT, _around_one(num, options.speed, x_UTF))
        if options.noise:
            deviation_U = options.noise * torch.rand(num, device=x_UTF.device)
            x_UTF = x_UTF + deviation_U[:, None, None] * torch.randn_like(x_UTF)
        num_bins_U = torch.full((num,), x_UTF.shape[2], device=x_UTF.device)
        x_UTF = x_UTF.masked_fill(_runs(num_bins_U, options.mask_bins, x_UTF.shape[2])[:, None], 0.0)
        length_U = mask_UT.sum(1)
        most_U = (length_U * self.MOST_HIDDEN).long().clamp_max(options.mask_frames)
        hidden_UT = _runs(length_U, most_U, x_UTF.shape[1])
        return x_UTF.masked_fill((hidden_UT | ~mask_UT)[..., None], 0.0), mask_UT


def warped(x_UTF: Tensor, factor_U: Tensor, rate_hz: int) -> Tensor:
    """Read each clip's mel bands at `factor` times their frequency, between bands by straight lines.

    Args:
        x_UTF: (U, T, F) log-mel frames whose bands reach from 0 to rate_hz / 2.
        factor_U: (U,); above 1 the spectrum moves down, as of a longer vocal tract.
        rate_hz: of the samples.
    """
    num_bins = x_UTF.shape[2]
    top_mel = hz_to_mel(torch.tensor(rate_hz / 2, dtype=torch.float64)).to(x_UTF.device, x_UTF.dtype)
    step = top_mel / (num_bins + 1)
    hz_F = mel_to_hz(step * torch.arange(1, num_bins + 1, device=x_UTF.device))
    place_UF = (hz_to_mel(factor_U[:, None] * hz_F) / step - 1).clamp(0, num_bins - 1)
    low_UF = place_UF.long().clamp_max(max(num_bins - 2, 0))
    share_U1F = (place_UF - low_UF)[:, None]
    low_UTF, high_UTF = (
        x_UTF.gather(2, index_UF[:, None].expand_as(x_UTF))
        for index_UF in (low_UF, (low_UF + 1).clamp_max(num_bins - 1))
    )
    return low_UTF + share_U1F * (high_UTF - low_UTF)


def shifted(x_UTF: Tensor, most_bins: int) -> Tensor:
    """Move each clip's spectrum by up to `most_bins` bins, up or down; edges are repeated."""
    num_media, _, num_bins = x_UTF.shape
    shift_U1 = torch.randint(-most_bins, most_bins + 1, (num_media, 1), device=x_UTF.device)
    source_UF = (torch.arange(num_bins, device=x_UTF.device) + shift_U1).clamp(0, num_bins - 1)
    return x_UTF.gather(2, source_UF[:, None].expand_as(x_UTF))


def stretched(x_UTF: Tensor, mask_UT: Tensor, rate_U: Tensor) -> tuple[Tensor, Tensor]:
    """Play each clip `rate` times as fast, between frames by straight lines; every clip keeps a frame.

    Args:
        x_UTF: (U, T, F).
        mask_UT: (U, T), real frames first.
        rate_U: (U,) above 0.

    Returns:
        (U, T', F), zeros in the padding, and its mask (U, T').
    """
    length_U = mask_UT.sum(1)
    new_U = torch.where(length_U > 0, (length_U / rate_U).round().long().clamp_min(1), 0)
    time_T = torch.arange(int(new_U.max()), device=x_UTF.device)
    last_U1 = (length_U - 1).clamp_min(0)[:, None]
    place_UT = (time_T * rate_U[:, None]).minimum(last_U1.to(rate_U.dtype))
    low_UT = place_UT.long()
    row_U1 = torch.arange(len(x_UTF), device=x_UTF.device)[:, None]
    low_UTF, high_UTF = x_UTF[row_U1, low_UT], x_UTF[row_U1, (low_UT + 1).minimum(last_U1)]
    y_UTF = low_UTF + (place_UT - low_UT)[..., None] * (high_UTF - low_UTF)
    mask_UT = time_T < new_U[:, None]
    return y_UTF * mask_UT[..., None], mask_UT


def _around_one(num: int, reach: float, like: Tensor) -> Tensor:
    return 1 + reach * (2 * torch.rand(num, device=like.device, dtype=like.dtype) - 1)


def _runs(length_U: Tensor, most: Tensor | int, size: int) -> Tensor:
    """Draw one run of 0..most places within each row's first `length`: (U, size) bool."""
    draw_2U = torch.rand(2, len(length_U), device=length_U.device)
    width_U = (draw_2U[0] * (torch.as_tensor(most, device=length_U.device) + 1)).long()
    first_U = (draw_2U[1] * (length_U - width_U + 1)).long()
    place_S = torch.arange(size, device=length_U.device)
    return (place_S >= first_U[:, None]) & (place_S < (first_U + width_U)[:, None])
