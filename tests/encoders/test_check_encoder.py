"""`check_encoder` finds each fault it is for: one honest encoder, and one broken encoder a promise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sensorium.core.types import Encoded, MediaBatch, per_row
from sensorium.testing.encoder import check_encoder

WIDTH = 6


class Honest(nn.Module):
    """A linear map of frames."""

    modality = "frames"

    def __init__(self) -> None:
        super().__init__()
        self.width = WIDTH
        self.map = nn.Linear(3, WIDTH)
        self.absent_D = nn.Parameter(torch.randn(WIDTH))

    def frames(self, media: MediaBatch) -> Tensor:
        return self.map(media.values)

    def forward(self, media: MediaBatch) -> Encoded:
        return per_row(self.frames(media), media.mask_UT, media.row_B, self.absent_D)


class ReadsPadding(Honest):
    def frames(self, media: MediaBatch) -> Tensor:
        return self.map(media.values - media.values.mean(1, keepdim=True))


class MixesMedia(Honest):
    def frames(self, media: MediaBatch) -> Tensor:
        real = media.values * media.mask_UT[..., None]
        return self.map(media.values + real.sum((0, 1)))


class MixesMediaInTraining(MixesMedia):
    def frames(self, media: MediaBatch) -> Tensor:
        return super().frames(media) if self.training else self.map(media.values)


class Random(Honest):
    def frames(self, media: MediaBatch) -> Tensor:
        return self.map(media.values) + torch.rand(())


class Deaf(Honest):
    def frames(self, media: MediaBatch) -> Tensor:
        return self.map(torch.ones_like(media.values))


class WrongWidth(Honest):
    def __init__(self) -> None:
        super().__init__()
        self.width = WIDTH + 1


class ForgetsAbsence(Honest):
    def forward(self, media: MediaBatch) -> Encoded:
        if len(media.values) == 0:
            return super().forward(media)
        return super().forward(replace(media, row_B=media.row_B.clamp_min(0)))


class NoAbsentPosition(Honest):
    def forward(self, media: MediaBatch) -> Encoded:
        encoded = super().forward(media)
        return replace(encoded, mask_BT=encoded.mask_BT & encoded.present_B[:, None])


class AbsentTokenOfTheMedia(Honest):
    def forward(self, media: MediaBatch) -> Encoded:
        x_UTD = self.frames(media)
        token = self.absent_D + (x_UTD[0, 0] if len(x_UTD) else 0)
        return per_row(x_UTD, media.mask_UT, media.row_B, token)


class UnlearnedAbsentToken(Honest):
    def __init__(self) -> None:
        super().__init__()
        del self.absent_D
        self.register_buffer("absent_D", torch.randn(WIDTH))


class DeadParameter(Honest):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)


class UnsavedWeight(Honest):
    def __init__(self) -> None:
        super().__init__()
        self.offset = torch.randn(())

    def frames(self, media: MediaBatch) -> Tensor:
        return self.map(media.values) + self.offset


class IgnoresRows(Honest):
    def forward(self, media: MediaBatch) -> Encoded:
        rows = media.row_B.clone()
        rows[rows >= 0] = rows[rows >= 0].sort().values
        return super().forward(replace(media, row_B=rows))


class InfinitePadding(Honest):
    def forward(self, media: MediaBatch) -> Encoded:
        encoded = super().forward(media)
        return replace(encoded, x_BTD=encoded.x_BTD.masked_fill(~encoded.mask_BT[..., None], torch.inf))


class FailsInBfloat16(Honest):
    def frames(self, media: MediaBatch) -> Tensor:
        x_UTD = self.map(media.values)
        return x_UTD + (x_UTD.dtype == torch.bfloat16)


def media_of(num: int) -> MediaBatch:
    lengths = torch.tensor([3, 1, 5, 2])[:num]
    mask_UT = torch.arange(int(lengths.max()) if num else 0) < lengths[:, None]
    return MediaBatch(torch.randn(*mask_UT.shape, 3), mask_UT, torch.zeros(num, dtype=torch.int64))


def test_an_honest_encoder_passes() -> None:
    check_encoder(Honest, media_of)


BROKEN: list[tuple[Any, str]] = [
    (ReadsPadding, "padding by 1 changes nothing"),
    (MixesMedia, "a medium alone encodes as in its batch"),
    (MixesMediaInTraining, "in training, a medium does not change another's"),
    (Random, "the same media give the same numbers"),
    (Deaf, "what a medium holds matters"),
    (WrongWidth, "D is the width"),
    (ForgetsAbsence, "rows of index -1 are absent"),
    (NoAbsentPosition, "exactly one real position"),
    (AbsentTokenOfTheMedia, "the absent token stays the same"),
    (UnlearnedAbsentToken, "the absent token is learned"),
    (DeadParameter, "a gradient reaches 'spare.weight'"),
    (UnsavedWeight, "loads the state dict"),
    (IgnoresRows, "rows that share a medium share its encoding"),
    (InfinitePadding, "padding included"),
    (FailsInBfloat16, "bf16 autocast differs"),
]


@pytest.mark.parametrize(("broken", "promise"), BROKEN)
def test_a_broken_encoder_is_found(broken: Any, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_encoder(broken, media_of)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    want = torch.rand(2)
    torch.manual_seed(3)
    check_encoder(Honest, media_of)
    assert torch.equal(torch.rand(2), want)
