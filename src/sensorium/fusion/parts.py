"""The parts of a fusion, in the order of its names, whatever order they come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

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


def presence(parts: Sequence[Encoded]) -> Tensor:
    """Return (B, K) bool: which of K parts each row has."""
    return torch.stack([part.present_B for part in parts], dim=1)


def conditioning(
    x_BMD: Tensor, mask_BM: Tensor | None, parts: Mapping[str, Encoded], **evidence: Tensor
) -> Conditioning:
    """Wrap fused positions; a row is present if any of its parts is.  No mask: every position is real."""
    if mask_BM is None:
        mask_BM = torch.ones(x_BMD.shape[:2], dtype=torch.bool, device=x_BMD.device)
    present_B = presence(list(parts.values())).any(1)
    return Conditioning(Encoded(x_BMD, mask_BM, present_B), dict(parts), evidence)
