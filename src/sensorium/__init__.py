"""Sensorium: a language model that sees and hears, built from your own data on your own machine.

    import sensorium
    model = sensorium.Sensorium.from_config("recipes/easy_vqa.toml").fit()
    print(model.predict(photo="cat.png", question="what is it?"))

Importing the package is light; torch comes with the first name that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sensorium.version import __version__

if TYPE_CHECKING:
    from sensorium.workflow.api import Sensorium

__all__ = ["Sensorium", "__version__", "load"]


def load(path: Any) -> Sensorium:
    """Load a saved model or a finished run: `load(path).predict(...)`.  Raises ModelError."""
    from sensorium.workflow.api import Sensorium

    return Sensorium.load(path)


def __getattr__(name: str) -> Any:
    if name == "Sensorium":
        from sensorium.workflow.api import Sensorium

        return Sensorium
    raise AttributeError(f"module 'sensorium' has no attribute '{name}'")
