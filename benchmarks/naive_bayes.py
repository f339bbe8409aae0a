"""Naive Bayes on ready counts, beside scikit-learn's, both in turn in one run.

    python benchmarks/naive_bayes.py

Enters: made-up counts: 50,000 rows over 30,000 words, 30 different words a row, words drawn by Zipf's law, 5
classes.  Fitting goes from counts to weights, predicting from counts to log-probabilities; medians of 7.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from record import write
from scipy.sparse import csr_matrix
from sklearn import naive_bayes as peer

from sensorium.core.vocabulary import Vocab
from sensorium.language.label_scorer import Examples
from sensorium.language.naive_bayes import NaiveBayes
from sensorium.language.sparse_counts import SparseCounts

NUM_ROWS, NUM_WORDS, NUM_CLASSES, REPEATS = 50_000, 30_000, 5, 7
PEERS = {"multinomial": peer.MultinomialNB, "bernoulli": peer.BernoulliNB, "complement": peer.ComplementNB}


def made_up() -> tuple[csr_matrix, np.ndarray]:
    generator = np.random.default_rng(0)
    share = 1 / np.arange(1, NUM_WORDS + 1)
    word_E = generator.choice(NUM_WORDS, NUM_ROWS * 40, p=share / share.sum())
    row_E = np.repeat(np.arange(NUM_ROWS), 40)
    matrix = csr_matrix((np.ones(len(word_E)), (row_E, word_E)), (NUM_ROWS, NUM_WORDS))
    matrix.sum_duplicates()
    return matrix, generator.integers(0, NUM_CLASSES, NUM_ROWS)


def median_seconds(job: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def measure(kind: str, matrix: csr_matrix, class_N: np.ndarray) -> dict[str, float]:
    """Fit and predict both ways."""
    counts = SparseCounts(matrix.indices.astype(np.int64), matrix.data, matrix.indptr.astype(np.int64), NUM_WORDS)
    if kind == "bernoulli":
        counts = counts.binary()
    ones = np.ones((NUM_ROWS, 1), bool)
    share_C = np.bincount(class_N) / NUM_ROWS
    examples = Examples(counts, class_N, ones, np.zeros(NUM_WORDS, np.int64), NUM_CLASSES, share_C)
    model = NaiveBayes(NaiveBayes.Config(kind=kind), Vocab.of("abcde"), 1)
    theirs = PEERS[kind]()

    def predict() -> np.ndarray:
        found = model.solve(examples) if not fitted else fitted[0]
        value_NC = torch.from_numpy(counts.times(found.weight_FC) + (found.intercept_C + found.bias_KC.sum(0)))
        return value_NC.log_softmax(1).numpy()

    fitted: list[Any] = []
    fit_s = median_seconds(lambda: model.solve(examples))
    peer_fit_s = median_seconds(lambda: theirs.fit(matrix, class_N))
    fitted.append(model.solve(examples))
    predict_s = median_seconds(predict)
    peer_predict_s = median_seconds(lambda: theirs.predict_log_proba(matrix))
    return {
        "fit_rows_per_s": NUM_ROWS / fit_s,
        "scikit_learn_fit_rows_per_s": NUM_ROWS / peer_fit_s,
        "fit_time_ratio": fit_s / peer_fit_s,
        "predict_rows_per_s": NUM_ROWS / predict_s,
        "scikit_learn_predict_rows_per_s": NUM_ROWS / peer_predict_s,
        "predict_time_ratio": predict_s / peer_predict_s,
        "largest_difference": float(np.abs(predict() - theirs.predict_log_proba(matrix)).max()),
    }


def main() -> None:
    matrix, class_N = made_up()
    write("naive_bayes", {"results": {kind: measure(kind, matrix, class_N) for kind in PEERS}})


if __name__ == "__main__":
    main()
