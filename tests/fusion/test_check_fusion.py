"""`check_fusion` finds each fault it is for: one honest fusion, and one broken fusion a promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.parts import conditioning, ordered
from sensorium.testing.fusion import check_fusion


class Honest(nn.Module):
    """A linear map of each part's mean, added up."""

    def __init__(self, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names, self.width = tuple(names), width
        self.maps = nn.ModuleList(nn.Linear(width, width) for _ in names)

    def chosen(self, parts: Mapping[str, Encoded]) -> list[Encoded]:
        return ordered(parts, self.names)

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        pooled = [each(part.mean_BD()) for each, part in zip(self.maps, self.chosen(parts), strict=True)]
        return conditioning(torch.stack(pooled).sum(0)[:, None], None, parts)


class ReadsPadding(Honest):
    def chosen(self, parts: Mapping[str, Encoded]) -> list[Encoded]:
        return [replace(part, mask_BT=torch.ones_like(part.mask_BT)) for part in super().chosen(parts)]


class MixesRows(Honest):
    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        cond = super().forward(parts)
        return replace(cond, memory=replace(cond.memory, x_BTD=cond.memory.x_BTD + cond.memory.x_BTD.mean(0)))


class TakesPartsAsTheyCome(Honest):
    def chosen(self, parts: Mapping[str, Encoded]) -> list[Encoded]:
        super().chosen(parts)
        return list(parts.values())


class IgnoresTheLast(Honest):
    def chosen(self, parts: Mapping[str, Encoded]) -> list[Encoded]:
        *rest, last = super().chosen(parts)
        return [*rest, replace(last, x_BTD=torch.zeros_like(last.x_BTD))]


class ToleratesMissingParts(Honest):
    def chosen(self, parts: Mapping[str, Encoded]) -> list[Encoded]:
        some = next(iter(parts.values()), None)
        if some is None:
            raise ValueError
        return [parts.get(name, some) for name in self.names]


class DividesByPresence(Honest):
    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        cond = super().forward(parts)
        num_B = torch.stack([part.present_B for part in parts.values()]).sum(0)
        return replace(cond, memory=replace(cond.memory, x_BTD=cond.memory.x_BTD / num_B[:, None, None]))


class EmptiesAbsentRows(Honest):
    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        cond = super().forward(parts)
        return replace(cond, memory=replace(cond.memory, mask_BT=cond.memory.present_B[:, None]))


class SaysItIgnoresAbsentParts(Honest):
    ignores_absent = True


class KeepsQuietAboutAbsentParts(Honest):
    def chosen(self, parts: Mapping[str, Encoded]) -> list[Encoded]:
        return [
            replace(part, x_BTD=torch.where(part.present_B[:, None, None], part.x_BTD, 0))
            for part in super().chosen(parts)
        ]


class DropsTheParts(Honest):
    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        return replace(super().forward(parts), parts={})


class DeadParameter(Honest):
    def __init__(self, names: Sequence[str], width: int) -> None:
        super().__init__(names, width)
        self.spare = nn.Linear(2, 2)


class ReadsOnlyTheFirstPosition(Honest):
    def chosen(self, parts: Mapping[str, Encoded]) -> list[Encoded]:
        first = []
        for part in super().chosen(parts):
            rank_BT = part.mask_BT.cumsum(1)
            first.append(replace(part, mask_BT=part.mask_BT & (rank_BT == 1)))
        return first


class UnsavedWeight(Honest):
    def __init__(self, names: Sequence[str], width: int) -> None:
        super().__init__(names, width)
        self.offset = torch.randn(())

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        cond = super().forward(parts)
        return replace(cond, memory=replace(cond.memory, x_BTD=cond.memory.x_BTD + self.offset))


def test_an_honest_fusion_passes() -> None:
    check_fusion(Honest)


BROKEN: list[tuple[Any, str]] = [
    (ReadsPadding, "changes nothing"),
    (MixesRows, "a row alone is fused as in its batch"),
    (TakesPartsAsTheyCome, "parts in another order"),
    (IgnoresTheLast, "'clip' counts where present"),
    (ToleratesMissingParts, "a missing part"),
    (DividesByPresence, "memory is finite"),
    (EmptiesAbsentRows, "every row has a real position"),
    (SaysItIgnoresAbsentParts, "an absent 'sound' changes nothing"),
    (KeepsQuietAboutAbsentParts, "some absent token is read"),
    (DropsTheParts, "the parts are handed on"),
    (DeadParameter, "a gradient reaches 'spare.weight'"),
    (ReadsOnlyTheFirstPosition, "every real position of 'sound' gets a gradient"),
    (UnsavedWeight, "loads the state dict"),
]


@pytest.mark.parametrize(("broken", "promise"), BROKEN)
def test_a_broken_fusion_is_found(broken: Any, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_fusion(broken)
