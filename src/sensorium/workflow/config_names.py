"""Names in a config that say something of other sections: refused when it is read, if nothing is called so.

Enters: a validated model, and the sections that name its inputs and scorers.  Leaves: nothing, or a ConfigError
with the key's place and the near name, long before what is named would be asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sensorium.core import registry
from sensorium.core.config import Source
from sensorium.core.errors import ConfigError
from sensorium.core.names import require_known
from sensorium.core.protocols import RecallingScorer
from sensorium.decoding.config import DecodingConfig
from sensorium.decoding.registry import ENTRY_POINTS, SEARCHES
from sensorium.evaluation.registry import require_known as require_metrics
from sensorium.model.config import ModelConfig


def require_names(
    model: ModelConfig,
    decoding: DecodingConfig,
    baseline_inputs: Iterable[str] | None,
    *,
    has_vectors: bool,
    source: Source,
) -> None:
    """Refuse names that nobody has.

    Raises:
        ConfigError: no such search, input, scorer or metric; or a memory that recalls no texts.
    """

    def require(key: str, names: Iterable[str], known: Collection[str], kind: str) -> None:
        require_known(names, list(known), kind, where=source.where(key), error=ConfigError)

    registry.load(SEARCHES, ENTRY_POINTS, decoding.search, where=source.where("decoding.search"))
    require("evaluation.baseline_inputs", baseline_inputs or (), model.inputs, "input")
    if decoding.rescore is not None:
        require("decoding.rescore.by", decoding.rescore.by, model.scorers, "scorer")
        if decoding.rescore.metric is not None:
            try:
                require_metrics([decoding.rescore.metric], has_vectors=has_vectors)
            except ConfigError as error:
                raise error.at(source.where("decoding.rescore.metric")) from None
    if decoding.consensus is not None and decoding.consensus.memory is not None:
        key, memory = "decoding.consensus.memory", decoding.consensus.memory
        require(key, [memory], model.scorers, "scorer")
        if not issubclass(model.scorers[memory].scorer, RecallingScorer):
            able = [name for name, choice in model.scorers.items() if issubclass(choice.scorer, RecallingScorer)]
            advice = f"such scorers of this model: {', '.join(able) or 'none'}"
            raise ConfigError(f"'{memory}' recalls no texts", where=source.where(key), advice=advice)
