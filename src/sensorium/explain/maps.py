"""Maps of one input, by any method, each with the check beside it.

Enters: `Variants`.  Leaves: `PlaceMap`: a number for each token and place, and the deletion and insertion curves of
the whole text's map.  A new method costs its own file and one line in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sensorium.core import registry
from sensorium.explain.curves import Check, check_map
from sensorium.explain.variants import Variants
from sensorium.explain.windows import pooled

METHODS: Mapping[str, str] = {
    "occlusion": "sensorium.explain.occlusion:occlusion",
    "integrated_gradients": "sensorium.explain.gradients:integrated_gradients",
    "rollout": "sensorium.explain.rollout:rollout",
}
ENTRY_POINTS = "sensorium.explanations"


@dataclass(frozen=True, slots=True)
class PlaceMap:
    """What the places of one input have to do with each token.

    Attributes:
        name: the input.
        method: a name in `METHODS`.
        picture: how to draw it, a name in `PICTURES`.
        tokens: the text's tokens.
        map_T: (T, *places) float64; nats, or shares of attention for `rollout`.
        values: the input as the encoder reads it, (1, ...).
        tile: how many places belong together, by axis.
        labels: its own tokens, where it is made of such.
        step_s: seconds from a place to the next, where the places are frames.
        check: the curves of the whole text's map.
        token_checks: the same for each token's own map and probability.
    """

    name: str
    method: str
    picture: str
    tokens: tuple[str, ...]
    map_T: Tensor
    values: Tensor
    tile: tuple[int, ...]
    labels: tuple[str, ...]
    step_s: float
    check: Check
    token_checks: tuple[Check, ...]

    @property
    def whole(self) -> Tensor:
        """Return the whole text's map (*places), the sum over tokens, as log P is."""
        return self.map_T.sum(0)

    @property
    def saliency(self) -> Tensor:
        """Return where it matters at all, for the text or against it: the whole map's magnitude, a tile pooled."""
        return pooled(self.whole.abs()[None], self.tile)[0]

    def facts(self) -> dict[str, Any]:
        """Return plain values for JSON: shapes and areas; the numbers themselves go to CSV."""
        return {
            "input": self.name,
            "method": self.method,
            "places": list(self.map_T.shape[1:]),
            "areas": self.check.facts(),
            "tokens": [
                {"token": token, "areas": check.facts()}
                for token, check in zip(self.tokens, self.token_checks, strict=True)
            ],
        }


@dataclass(frozen=True, slots=True)
class _TokenProbability:
    token: int

    def __call__(self, log_p_T: Tensor) -> Tensor:
        return log_p_T[..., self.token].exp()


def num_steps(num_tokens: int) -> int:
    """Return how many steps one map takes: making it, and judging the whole of it and each token's."""
    return num_tokens + 2


def place_map(variants: Variants, method: str, tell: Callable[[], None] = lambda: None) -> PlaceMap:
    """Make one map of one input; `tell` is called after each of its `num_steps`.

    Raises:
        ConfigError: no such method.
        UsageError: the method has nothing to say of this model's parts; the message says why.
    """
    map_T: Tensor = registry.load(METHODS, ENTRY_POINTS, method)(variants)
    tell()
    token_checks = []
    for t, map_P in enumerate(map_T):
        token_checks.append(check_map(variants, map_P, value=_TokenProbability(t)))
        tell()
    check = check_map(variants, map_T.sum(0))
    tell()
    return PlaceMap(
        variants.name,
        method,
        variants.hiding.picture,
        tuple(variants.tokens),
        map_T,
        variants.values.cpu(),
        variants.tile,
        variants.labels,
        variants.step_s,
        check,
        tuple(token_checks),
    )
