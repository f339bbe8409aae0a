"""Every metric of predictions against references, by name; third parties add theirs under the group.

A metric is a function `(predictions, references) -> float` over plain lists: a text a row, and for
each the one text or the several that would be right.  Those of `VECTOR_METRICS` are made from word vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from sensorium.core import registry
from sensorium.core.errors import ConfigError
from sensorium.data.word_vectors import WordVectors
from sensorium.evaluation.metrics import Metric

ENTRY_POINTS = "sensorium.metrics"

METRICS: dict[str, str] = {
    "accuracy": "sensorium.evaluation.metrics:accuracy",
    "exact_match": "sensorium.evaluation.metrics:exact_match",
    "macro_f1": "sensorium.evaluation.metrics:macro_f1",
    "vqa_accuracy": "sensorium.evaluation.metrics_vqa:vqa_accuracy",
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
}

LOWER_IS_BETTER = frozenset({"wer", "cer", "perplexity"})

VECTOR_METRICS: dict[str, str] = {
    "embedding_similarity": "sensorium.evaluation.metrics_similarity:embedding_similarity",
    "semantic_similarity": "sensorium.evaluation.metrics_similarity:semantic_similarity",
}


def load_metric(name: str, vectors: WordVectors | None = None) -> Metric:
    """Return the metric called `name`, over `vectors` if it is one that compares words.

    Raises:
        ConfigError: no such metric, with the nearest name; or one that needs vectors, and there are none.
    """
    if name not in VECTOR_METRICS:
        return cast(Metric, registry.load(METRICS | VECTOR_METRICS, ENTRY_POINTS, name))
    if vectors is None:
        advice = "name a file of them: evaluation.vectors = 'words.txt' (see `sensorium vectors train`)"
        raise ConfigError(f"'{name}' needs word vectors", advice=advice)
    make: Callable[[WordVectors], Metric] = registry.load(VECTOR_METRICS, ENTRY_POINTS, name)
    return make(vectors)
