"""The order in which parts meet: side by side, one after another, or in groups one after another.

    parallel   memory = fusion(x_1, ..., x_K)
    serial     y_1 = x_1, y_k = given(x_k, y_1..y_{k-1});  memory = fusion(y_1, ..., y_K)
    hybrid     the same, with x_g = fusion(the parts of group g) instead of x_k

Encoders stand for themselves (one may be frozen, its features cached), so a part is brought into the light of those
before it just after its encoder.  `given` is one of

    film              x (1 + gamma) + beta, from the means of those before (Perez et al. 2018)
    cross_attention   x + attention(LN(x), LN([y_1; ...; y_{k-1}])), then an MLP (Vaswani et al. 2017)

A part that is absent from a row tells nobody anything, and its absent token stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.errors import UsageError
from sensorium.core.protocols import ReadingFusion
from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.attention import CrossAttentionBlock
from sensorium.fusion.film import Modulation
from sensorium.fusion.parts import by_part, ordered, presence

LayoutName = Literal["parallel", "serial", "hybrid"]
Given = Literal["film", "cross_attention"]
Groups = Sequence[Sequence[str]]


class Layout(nn.Module):
    """Fuse groups of parts, bring each group into the light of those before, and fuse the groups.

    Args:
        make_fusion: makes a fusion of the parts named; called once a group of several, and once for all groups.
        groups: the parts by group, first to last; a group of one is not fused.
        width: D.
        given: how a group is conditioned on those before.
    """

    def __init__(
        self, make_fusion: Callable[[Sequence[str]], Any], groups: Groups, width: int, given: Given
    ) -> None:
        super().__init__()
        self.groups = [tuple(group) for group in groups]
        self.names = tuple(name for group in self.groups for name in group)
        self.width = width
        self.fusions = nn.ModuleDict({str(g): make_fusion(names) for g, names in self._several()})
        self.steps: Any = nn.ModuleList(
            _STEPS[given](width, num_before) for num_before in range(1, len(self.groups))
        )
        self.fusion: Any = make_fusion([group_name(group) for group in self.groups])

    @property
    def ignores_absent(self) -> bool:
        """Say whether absent tokens are read nowhere."""
        return all(getattr(fusion, "ignores_absent", False) for fusion in (self.fusion, *self.fusions.values()))

    def _several(self) -> list[tuple[int, tuple[str, ...]]]:
        return [(g, names) for g, names in enumerate(self.groups) if len(names) > 1]

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse: the memory of the last fusion, and the evidence of each, of groups as `GROUP.NAME`.

        Raises:
            ModelError: a missing part.
        """
        ordered(parts, self.names)
        evidence: dict[str, Tensor] = {}
        told: list[Encoded] = []
        for g, names in enumerate(self.groups):
            part = parts[names[0]]
            if len(names) > 1:
                cond = self.fusions[str(g)]({name: parts[name] for name in names})
                part = cond.memory
                evidence |= {f"{group_name(names)}.{key}": value for key, value in cond.evidence.items()}
            told.append(self.steps[g - 1](part, told) if g else part)
        fused: Conditioning = self.fusion(dict(zip(map(group_name, self.groups), told, strict=True)))
        return replace(fused, parts=dict(parts), evidence={**evidence, **fused.evidence})

    def reading(self, parts: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Return what each position was read from, (B, M, T) by input: the product of all readings on the way.

        Raises:
            UsageError: a fusion does not tell what it reads, or inputs are shown those before by modulation.
        """
        inputs = ordered(parts, self.names)
        own_BSS = torch.diag_embed(torch.cat([part.mask_BT for part in inputs], dim=1).float())
        rows = iter(
            torch.split(own_BSS, [sum(parts[n].mask_BT.shape[1] for n in names) for names in self.groups], dim=1)
        )
        told: list[Encoded] = []
        reads: list[Tensor] = []  # of each group so far, (B, T, positions of all inputs)
        for g, names in enumerate(self.groups):
            part, read_BTS = parts[names[0]], next(rows)
            if len(names) > 1:
                chosen = {name: parts[name] for name in names}
                read_BTS = _reading(self.fusions[str(g)], chosen) @ read_BTS
                part = self.fusions[str(g)](chosen).memory
            if g:
                before_BTS = self.steps[g - 1].reading(part, told)
                read_BTS = (1 - before_BTS.sum(2, keepdim=True)) * read_BTS + before_BTS @ torch.cat(reads, dim=1)
                part = self.steps[g - 1](part, told)
            told.append(part)
            reads.append(read_BTS)
        last_BMS = _reading(self.fusion, dict(zip(map(group_name, self.groups), told, strict=True)))
        return by_part(last_BMS @ torch.cat(reads, dim=1), self.names, inputs)


def _reading(fusion: Any, parts: Mapping[str, Encoded]) -> Tensor:
    """Return a fusion's reading of all parts together, (B, M, sum of T), in their order."""
    if not isinstance(fusion, ReadingFusion):
        raise UsageError(f"the fusion {type(fusion).__name__} does not tell what it reads")
    read = fusion.reading(parts)
    return torch.cat([read[name] for name in parts], dim=2)


class GivenByFilm(nn.Module):
    """Modulate a part by the means of those before.

    Args:
        width: D.
        num_before: how many are.
    """

    def __init__(self, width: int, num_before: int) -> None:
        super().__init__()
        self.modulation = Modulation(width, num_before, width)

    def forward(self, part: Encoded, before: Sequence[Encoded]) -> Encoded:
        """Return the part in the light of those before, of the same shape."""
        x_BTD = torch.where(part.mask_BT[..., None], part.x_BTD, 0)
        y_BTD = self.modulation(x_BTD, [other.mean_BD() for other in before], presence(before))
        kept_BT1 = (part.mask_BT & part.present_B[:, None])[..., None]
        return replace(part, x_BTD=torch.where(kept_BT1, y_BTD, x_BTD))

    def reading(self, part: Encoded, before: Sequence[Encoded]) -> Tensor:
        """Raise UsageError: a part that is scaled and shifted by others is no average of their positions."""
        raise UsageError(
            "this layout scales and shifts inputs by those before, which is no reading of positions",
            advice='take another map, or train with given = "cross_attention"',
        )


class GivenByAttention(nn.Module):
    """Let a part's positions attend to those of the parts before.

    Args:
        width: D; 4 heads, or as many of them as divide it.
        num_before: how many are; each has a learned vector that says which one it is.
    """

    def __init__(self, width: int, num_before: int) -> None:
        super().__init__()
        self.kind_KD = nn.Parameter(torch.randn(num_before, width) * 0.02)
        self.norm_keys = nn.LayerNorm(width)
        self.block = CrossAttentionBlock(width, math.gcd(width, 4), 0.0)

    def forward(self, part: Encoded, before: Sequence[Encoded]) -> Encoded:
        """Return the part in the light of those before, of the same shape."""
        x_BTD, key_BSD, mask_BS, changed_BT1 = self._sides(part, before)
        return replace(part, x_BTD=torch.where(changed_BT1, self.block(x_BTD, key_BSD, mask_BS), x_BTD))

    def reading(self, part: Encoded, before: Sequence[Encoded]) -> Tensor:
        """Return what each position was read from among those before, (B, T, S); the rest of 1 is itself."""
        x_BTD, key_BSD, mask_BS, changed_BT1 = self._sides(part, before)
        return torch.where(changed_BT1, self.block.weights(x_BTD, key_BSD, mask_BS).mean(1) / 2, 0)

    def _sides(self, part: Encoded, before: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return who asks (B, T, D), the keys (B, S, D) and their mask, and which positions change (B, T, 1)."""
        x_BTD = torch.where(part.mask_BT[..., None], part.x_BTD, 0)
        mask_BS = torch.cat([other.mask_BT & other.present_B[:, None] for other in before], dim=1)
        keys = [other.x_BTD + kind_D for other, kind_D in zip(before, self.kind_KD, strict=True)]
        key_BSD = self.norm_keys(torch.where(mask_BS[..., None], torch.cat(keys, dim=1), 0))
        some_B1 = mask_BS.any(1, keepdim=True)
        return x_BTD, key_BSD, mask_BS | ~some_B1, (part.mask_BT & part.present_B[:, None] & some_B1)[..., None]


_STEPS: Mapping[str, Callable[[int, int], GivenByFilm | GivenByAttention]] = {
    "film": GivenByFilm,
    "cross_attention": GivenByAttention,
}


def group_name(names: Sequence[str]) -> str:
    """Name a group by its parts: photo+question."""
    return "+".join(names)


def named_part(options: Section) -> str | None:
    """Return the part that a fusion's options name, such as `query`; None where they name none."""
    key = getattr(type(options), "names_part", None)
    return None if key is None else getattr(options, key)


def options_for(options: Section, names: Sequence[str]) -> Section:
    """Return the options of a fusion of `names` alone, of which a name may be a group's.

    The part they name becomes the group that holds it; where it is in none, they name none.
    """
    part = named_part(options)
    if part is None or part in names:
        return options
    group = next((name for name in names if part in name.split("+")), None)
    return options.model_copy(update={type(options).names_part: group})  # type: ignore[attr-defined]


def make_fusion(
    fusion: Any, options: Section, names: Sequence[str], width: int, *, groups: Groups | None, given: Given
) -> Any:
    """Make a fusion of the inputs named, laid out in `groups`; None is parallel.

    Raises:
        ConfigError: as the fusion's own constructor.
    """
    if groups is None:
        return fusion(options, names, width)
    return Layout(lambda chosen: fusion(options_for(options, chosen), chosen, width), groups, width, given)
