"""Every metric of predictions against references, by name; third parties add theirs under the group.

A metric is a function `(predictions, references) -> float` over plain lists: a text a row, and for
each the one text or the several that would be right.
"""

from __future__ import annotations

from typing import cast

from sensorium.core import registry
from sensorium.evaluation.metrics import Metric

ENTRY_POINTS = "sensorium.metrics"

METRICS: dict[str, str] = {
    "accuracy": "sensorium.evaluation.metrics:accuracy",
    "exact_match": "sensorium.evaluation.metrics:exact_match",
    "macro_f1": "sensorium.evaluation.metrics:macro_f1",
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


def load_metric(name: str) -> Metric:
    """Return the metric called `name`.  Raises ConfigError with the nearest name."""
    return cast(Metric, registry.load(METRICS, ENTRY_POINTS, name))
