"""Every metric of predictions against references, by name; third parties add theirs under the group.

A metric is a function `(predictions, references) -> float` over plain lists: a text a row, and for
each the one text or the several that would be right.  Those of `VECTOR_METRICS` are made from word vectors.

`SPLIT_OF` says how the texts of each are split into words, and a name may ask for another way: "bleu4" is
"bleu4@captions", and "bleu4@13a" what sacrebleu gives (`word_splits.SPLITS`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

from sensorium.core import registry
from sensorium.core.errors import ConfigError
from sensorium.core.names import nearest
from sensorium.data.word_vectors import WordVectors
from sensorium.evaluation.metrics import Metric
from sensorium.evaluation.word_splits import SPLITS

ENTRY_POINTS = "sensorium.metrics"

METRICS: dict[str, str] = {
    "accuracy": "sensorium.evaluation.metrics:accuracy",
    "exact_match": "sensorium.evaluation.metrics:exact_match",
    "macro_f1": "sensorium.evaluation.metrics:macro_f1",
    "vqa_accuracy": "sensorium.evaluation.metrics_vqa:vqa_accuracy",
    "macro_precision": "sensorium.evaluation.metrics:macro_precision",
    "macro_recall": "sensorium.evaluation.metrics:macro_recall",
    "span_f1": "sensorium.evaluation.metrics_span:span_f1",
    "span_precision": "sensorium.evaluation.metrics_span:span_precision",
    "span_recall": "sensorium.evaluation.metrics_span:span_recall",
    "token_accuracy": "sensorium.evaluation.metrics_span:token_accuracy",
    "wer": "sensorium.evaluation.metrics_error_rate:word_error_rate",
    "cer": "sensorium.evaluation.metrics_error_rate:character_error_rate",
    "bleu1": "sensorium.evaluation.metrics_bleu:bleu1",
    "bleu2": "sensorium.evaluation.metrics_bleu:bleu2",
    "bleu3": "sensorium.evaluation.metrics_bleu:bleu3",
    "bleu4": "sensorium.evaluation.metrics_bleu:bleu4",
    "meteor_exact": "sensorium.evaluation.metrics_meteor:meteor_exact",
    "meteor_exact_stem": "sensorium.evaluation.metrics_meteor:meteor_exact_stem",
    "meteor_exact_stem_wordnet": "sensorium.evaluation.metrics_meteor:meteor_exact_stem_wordnet",
    "rouge_l": "sensorium.evaluation.metrics_rouge:rouge_l",
    "cider": "sensorium.evaluation.metrics_cider:cider",
    "cider_d": "sensorium.evaluation.metrics_cider:cider_d",
    "distinct1": "sensorium.evaluation.metrics_distinct:distinct1",
    "distinct2": "sensorium.evaluation.metrics_distinct:distinct2",
}

LOWER_IS_BETTER = frozenset({"wer", "cer", "perplexity"})

VECTOR_METRICS: dict[str, str] = {
    "embedding_similarity": "sensorium.evaluation.metrics_similarity:embedding_similarity",
    "semantic_similarity": "sensorium.evaluation.metrics_similarity:semantic_similarity",
}

_OVER_CAPTION_WORDS = (
    "bleu1", "bleu2", "bleu3", "bleu4", "meteor_exact", "meteor_exact_stem", "meteor_exact_stem_wordnet", "rouge_l",
    "cider", "cider_d", "distinct1", "distinct2",
)  # fmt: skip
SPLIT_OF: dict[str, str] = {
    **dict.fromkeys(_OVER_CAPTION_WORDS, "captions"),
    "wer": "blanks",
}
"""How words are parted, for metrics that can be told."""
_FIXED_SPLIT = {
    "cer": "characters",
    "exact_match": "squad",
    **dict.fromkeys(("accuracy", "macro_f1", "macro_precision", "macro_recall"), "none"),
    **dict.fromkeys(("span_f1", "span_precision", "span_recall", "token_accuracy"), "blanks"),
    **dict.fromkeys(VECTOR_METRICS, "words"),
    "perplexity": "tokenizer",
}


def load_metric(name: str, vectors: WordVectors | None = None) -> Metric:
    """Return the metric called `name`, over `vectors` if it is one that compares words.

    Raises:
        ConfigError: no such metric or way to split words, with the nearest name; or one that needs vectors, and
            there are none.
    """
    base, options = parsed(name)
    if base not in VECTOR_METRICS:
        metric = registry.load(METRICS | VECTOR_METRICS, ENTRY_POINTS, base)
        return cast(Metric, functools.partial(metric, **options) if options else metric)
    if vectors is None:
        advice = "name a file of them: evaluation.vectors = 'words.txt' (see `sensorium vectors train`)"
        raise ConfigError(f"'{name}' needs word vectors", advice=advice)
    make: Callable[[WordVectors], Metric] = registry.load(VECTOR_METRICS, ENTRY_POINTS, base)
    return make(vectors)


def parsed(name: str) -> tuple[str, dict[str, Any]]:
    """Part "bleu4@13a" into the metric's name and the options it is called with.

    Raises:
        ConfigError: no such way to split words, or a metric that cannot be told one.
    """
    base, asks, split = name.partition("@")
    if not asks:
        return base, {}
    if base not in SPLIT_OF:
        raise ConfigError(f"'{base}' splits words in its own way", advice=f"of these it can be told: {[*SPLIT_OF]}")
    if split not in SPLITS:
        raise ConfigError(f"no way to split words '{split}'", advice=nearest(split, list(SPLITS)))
    return base, {"split": SPLITS[split]}


def split_name(name: str) -> str:
    """Name how the texts of a metric are split: by SPLITS, "characters", ...; "none" where they stay whole."""
    base, _, split = name.partition("@")
    return split or SPLIT_OF.get(base) or _FIXED_SPLIT.get(base, "none")


def is_lower_better(name: str) -> bool:
    """Say whether less of this metric is better."""
    return name.partition("@")[0] in LOWER_IS_BETTER


def require_known(names: list[str], *, has_vectors: bool) -> None:
    """Check metrics' names before anything is trained.

    Raises:
        ConfigError: an unknown name, with the nearest; or one that needs vectors where there are none.
    """
    for name in names:
        base, _ = parsed(name)
        known = registry.names(METRICS | VECTOR_METRICS, ENTRY_POINTS)
        if base not in known:
            raise ConfigError(f"no metric '{base}'", advice=nearest(base, known))
        if base in VECTOR_METRICS and not has_vectors:
            load_metric(base)
