"""All that is known of one answer: by scorer, by input, and by place.

Enters: a model, a batch of one row and its text.  Leaves: one `RowExplanation`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sensorium.core.errors import UsageError
from sensorium.core.types import Batch
from sensorium.explain.maps import PlaceMap, num_steps, place_map
from sensorium.explain.scorers import Explanation, explain
from sensorium.explain.shapley import Contributions, contributions
from sensorium.explain.variants import Variants
from sensorium.model.multimodal import MultimodalLM

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RowExplanation:
    """Where one answer came from.

    Attributes:
        text: the answer.
        scorers: for every token, each scorer's share.
        inputs: what each input gave.
        blind: the value with typed inputs alone: an answer without looking or listening.
        maps: what the places of an input have to do with each token, by input and method.
        left_out: why a map is missing, by "input.method".
    """

    text: str
    scorers: Explanation
    inputs: Contributions
    blind: float
    maps: tuple[PlaceMap, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "text": self.text,
            "inputs": {**self.inputs.facts(), "blind": self.blind},
            "scorers": self.scorers.facts(),
            "maps": [found.facts() for found in self.maps],
            "left_out": dict(self.left_out),
        }


@dataclass(slots=True)
class _Steps:
    """Count steps, and tell of them."""

    advance: Callable[[int, int], None] | None
    total: int
    done: int = 0

    def tell(self) -> None:
        self.done += 1
        if self.advance is not None:
            self.advance(self.done, self.total)


def explain_row(
    model: MultimodalLM,
    batch: Batch,
    text: str,
    ids: Sequence[int],
    *,
    methods: Sequence[str],
    value: str = "log_p",
    blind: Sequence[str] = (),
    advance: Callable[[int, int], None] | None = None,
) -> RowExplanation:
    """Explain the text of one row, whose tokens are `ids` (without BOS).

    Args:
        methods: of maps, names in `METHODS`; each is tried on every input that the row has.
        value: what the inputs share out, a name in `VALUES`.
        blind: the inputs that are typed, shown alone for comparison.
        advance: told how many steps of how many the maps have taken.

    Raises:
        ConfigError: an unknown method or value.
        ModelError: see `contributions`.
    """
    maps, left_out = [], {}
    present = [name for name, media in batch.inputs.items() if int(media.row_B[0]) >= 0]
    steps = _Steps(advance, len(present) * len(methods) * num_steps(len(ids)))
    for name in present:
        for method in methods:
            try:
                maps.append(place_map(Variants(model, batch, ids, name), method, steps.tell))
            except UsageError as error:
                if type(error) is not UsageError:
                    raise
                left_out[f"{name}.{method}"] = str(error)
                logger.warning("no map of '%s' by %s: %s", name, method, error)
    given = contributions(model, batch, [ids], value)[0]
    scorers = explain(model, batch, [text], [ids])[0]
    return RowExplanation(text, scorers, given, given.only(blind), tuple(maps), left_out)
