"""The parts of a fusion, in the order of its names, whatever order they come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sensorium.core.errors import ModelError
from sensorium.core.types import Conditioning, Encoded


def ordered(parts: Mapping[str, Encoded], names: Sequence[str]) -> list[Encoded]:
    """Return the parts in the order of `names`.

    Raises:
        ModelError: a part is missing, or one too many is there.  (A row without an input is not a missing part:
            its encoder gives an absent token.)
    """
    if parts.keys() != set(names):
        raise ModelError(
            f"the fusion joins {', '.join(names)}, but was given {', '.join(parts) or 'nothing'}",
            advice="mark an input absent by row instead of leaving it out",
        )
    return [parts[name] for name in names]


def kinds(num_parts: int, width: int) -> nn.Parameter:
    """Return a learned vector a part, (K, D), that is added to its positions to say whose they are."""
    return nn.Parameter(torch.randn(num_parts, width) * 0.02)


def by_part(read_BMS: Tensor, names: Sequence[str], parts: Sequence[Encoded]) -> dict[str, Tensor]:
    """Take apart what was read from the positions of all parts, in the order of `names`: (B, M, T) each."""
    lengths = [part.mask_BT.shape[1] for part in parts]
    return dict(zip(names, torch.split(read_BMS, lengths, dim=2), strict=True))


def presence(parts: Sequence[Encoded]) -> Tensor:
    """Return (B, K) bool: which of K parts each row has."""
    return torch.stack([part.present_B for part in parts], dim=1)


def heard(parts: Sequence[Encoded]) -> Tensor:
    """Return (B, K) bool: the parts a row has; where it has none, all of them, by their absent tokens."""
    present_BK = presence(parts)
    return present_BK | ~present_BK.any(1, keepdim=True)


def lined_up(parts: Sequence[Encoded], kind_KD: Tensor) -> tuple[Tensor, Tensor, list[int]]:
    """Line up the positions of all parts that are heard, so that an absent part says nothing.

    Args:
        kind_KD: a vector a part that is added to its positions.

    Returns:
        x_BMD (B, sum of T, D), zero where masked; mask_BM; and each part's T.
    """
    mask_BM = torch.cat([p.mask_BT & k_B[:, None] for p, k_B in zip(parts, heard(parts).T, strict=True)], dim=1)
    x_BMD = torch.cat([part.x_BTD + kind_D for part, kind_D in zip(parts, kind_KD, strict=True)], dim=1)
    return torch.where(mask_BM[..., None], x_BMD, 0), mask_BM, [part.mask_BT.shape[1] for part in parts]


def conditioning(
    x_BMD: Tensor, mask_BM: Tensor | None, parts: Mapping[str, Encoded], **evidence: Tensor
) -> Conditioning:
    """Wrap fused positions; a row is present if any of its parts is.  No mask: every position is real."""
    if mask_BM is None:
        mask_BM = torch.ones(x_BMD.shape[:2], dtype=torch.bool, device=x_BMD.device)
    present_B = presence(list(parts.values())).any(1)
    return Conditioning(Encoded(x_BMD, mask_BM, present_B), dict(parts), evidence)
