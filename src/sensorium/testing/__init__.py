"""Public contract suites for components: check_scorer, check_encoder, check_fusion."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.testing.encoder import check_encoder
    from sensorium.testing.fusion import check_fusion
    from sensorium.testing.scorer import check_scorer

__all__ = ["check_encoder", "check_fusion", "check_scorer"]


def __getattr__(name: str) -> Any:
    """Import a suite when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{name.removeprefix('check_')}"), name)
