"""Judge texts by meaning: how near their words' vectors are to a reference's.

Enters: word vectors and plain lists.  Leaves: a cosine, or an F1 of cosines; a row counts with its best reference.

    embedding similarity   cos( mean_{w in prediction} v_w,  mean_{w in reference} v_w )
    semantic similarity    F1 of  P = mean_{w in prediction} max_{u in reference} cos(v_w, v_u),  R the reverse

Words without a vector match only themselves: in the second a word is then 1 beside its equal and 0 beside
others; the first leaves them out.  Equal texts are 1 in both, and a text of no words beside one of some is 0.
Sources: Liu et al. 2016, "How NOT to evaluate your dialogue system", section 3.2 (average, greedy matching);
Zhang et al. 2020, "BERTScore", equations 1-3 (the F1).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sensorium.data.tokenizers import words
from sensorium.data.tokenizers.characters import composed, lowered
from sensorium.data.word_vectors import WordVectors
from sensorium.evaluation.metrics import Metric, References, paired

Similarity = Callable[[Sequence[str], Sequence[str]], float]


def embedding_similarity(vectors: WordVectors) -> Metric:
    """Make the metric that compares averaged vectors, in -1..1."""
    return _best_of(lambda one, other: _average_cosine(vectors, one, other))


def semantic_similarity(vectors: WordVectors) -> Metric:
    """Make the metric that matches each word with its nearest, in 0..1; 0 where either mean is not above 0."""
    return _best_of(lambda one, other: _greedy_f1(vectors, one, other))


def _best_of(similarity: Similarity) -> Metric:
    def metric(predictions: Sequence[str], references: References) -> float:
        def row(prediction: str, texts: Sequence[str]) -> float:
            said = words_of(prediction)
            return max(_similarity(similarity, said, words_of(text)) for text in texts)

        return statistics.fmean(row(prediction, texts) for prediction, texts in paired(predictions, references))

    return metric


def words_of(text: str) -> list[str]:
    """Split a text as the word tokenizer does, in lower case."""
    return words.split(lowered(composed(text)))


def _similarity(similarity: Similarity, one: Sequence[str], other: Sequence[str]) -> float:
    if one == other:
        return 1.0
    return similarity(one, other) if one and other else 0.0


def _average_cosine(vectors: WordVectors, one: Sequence[str], other: Sequence[str]) -> float:
    mean_D, other_D = (_stacked(vectors.x_VD, vectors, text).mean(0) for text in (one, other))
    if not (mean_D.isfinite().all() and other_D.isfinite().all()):  # a text none of whose words has a vector
        return 0.0
    return float(torch.nn.functional.cosine_similarity(mean_D, other_D, dim=0))


def _greedy_f1(vectors: WordVectors, one: Sequence[str], other: Sequence[str]) -> float:
    cosine_TU = torch.tensor([[float(a == b) for b in other] for a in one])
    known_T, known_U = ([i for i, word in enumerate(text) if word in vectors.row_of] for text in (one, other))
    if known_T and known_U:
        of_known_TU = _stacked(vectors.unit_VD, vectors, one) @ _stacked(vectors.unit_VD, vectors, other).T
        cosine_TU[torch.tensor(known_T)[:, None], torch.tensor(known_U)] = of_known_TU
    precision, recall = float(cosine_TU.amax(1).mean()), float(cosine_TU.amax(0).mean())
    # A mean may be below 0, and then the harmonic mean has no bounds.
    return 2 * precision * recall / (precision + recall) if min(precision, recall) > 0 else 0.0


def _stacked(x_VD: Tensor, vectors: WordVectors, text: Sequence[str]) -> Tensor:
    """Return the vectors of the text's known words, (T, D)."""
    return x_VD[[vectors.row_of[word] for word in text if word in vectors.row_of]]
