"""Tune the weights that choose among the n best texts, on a run's held-out rows.

Enters: a fitted model, its task, held-out rows.  Leaves: a DecodingConfig whose weights are known.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sensorium.core.errors import ConfigError
from sensorium.core.protocols import Scorer
from sensorium.data.corpus import Corpus
from sensorium.data.word_vectors import WordVectors
from sensorium.decoding.config import DecodingConfig, build
from sensorium.decoding.rescoring import LENGTH, features, tune
from sensorium.evaluation.comparable import comparable_by
from sensorium.evaluation.registry import is_lower_better, load_metric
from sensorium.evaluation.runner import requests_of
from sensorium.model.multimodal import MultimodalLM
from sensorium.tasks.task import Task, rescorers
from sensorium.training.console import stage, staged

log = logging.getLogger(__name__)

_BATCH_ROWS = 64


def tuned(
    decoding: DecodingConfig,
    model: MultimodalLM,
    task: Task,
    corpus: Corpus,
    *,
    is_closed: bool = False,
    vectors: WordVectors | None = None,
) -> DecodingConfig:
    """Return `decoding` with weights fitted on `corpus`, if it rescores and they are not fixed.

    Args:
        is_closed: answers are chosen by exact probabilities, so that there is nothing to rescore.
        vectors: of words, for a metric that compares by them.

    Raises:
        ConfigError: a scorer or metric that this run does not have, or no metric at all.
    """
    rescore = decoding.rescore
    if rescore is None or rescore.weights is not None or is_closed:
        return decoding
    metric = _metric(rescore.metric, task)
    scorers = rescorers(model, rescore.by)
    groups = requests_of(task, corpus, np.arange(corpus.num_rows))[: rescore.max_rows]
    comparable, judge = comparable_by(model.tokenizer), load_metric(metric, vectors)
    score_BK, feature_BKF, texts = _candidates(decoding, model, corpus, [group[0] for group in groups], scorers)
    judged = [[comparable(corpus.target_text(row)) for row in group] for group in groups]
    sign = -1.0 if is_lower_better(metric) else 1.0

    def worth(chosen: list[int]) -> float:
        return sign * float(judge([row[k] for row, k in zip(texts, chosen, strict=True)], judged))

    with stage(None, "weighing what chooses texts", "trials") as told:
        weights = tune(score_BK, feature_BKF, worth, advance=told)
    first = worth([0] * len(texts))
    named = dict(zip([*rescore.by, LENGTH], weights, strict=True))
    log.info("rescoring by %s: tuned for %s on %d rows, from %.4g", named, metric, len(texts), sign * first)
    return decoding.model_copy(update={"rescore": rescore.model_copy(update={"weights": named})})


def _candidates(
    decoding: DecodingConfig, model: MultimodalLM, corpus: Corpus, rows: list[int], scorers: Mapping[str, Scorer]
) -> tuple[Tensor, Tensor, list[list[str]]]:
    """Write the texts to choose among: their scores (B, K), features (B, K, F) and comparable forms."""
    comparable = comparable_by(model.tokenizer)
    score, known, texts = [], [], []
    with torch.inference_mode():
        starts = range(0, len(rows), _BATCH_ROWS)
        for start in staged(starts, len(starts), "writing texts to choose among", "batches"):
            batch = corpus.batch(np.array(rows[start : start + _BATCH_ROWS]))
            cond = model.condition(batch)
            found = build(decoding)(model.scorer, cond)
            score.append(found.score_BK.cpu())
            known.append(features(scorers, found, cond).cpu())
            texts += [[comparable(_text(model, ids)) for ids in row] for row in found.token_BKT.tolist()]
    return torch.cat(score), torch.cat(known), texts


def _metric(name: str | None, task: Task) -> str:
    if name is not None and name in task.metrics:
        return name
    if name is not None or not task.metrics:
        advice = f"metrics of this task: {', '.join(task.metrics) or 'none'}"
        raise ConfigError(f"cannot tune for {name or 'a metric'}", where="decoding.rescore.metric", advice=advice)
    return task.metrics[0]


def _text(model: MultimodalLM, ids: list[int]) -> str:
    return model.tokenizer.decode([i for i in ids if i])
