"""Sentences of two kinds by counting: naive Bayes and NB-SVM on MR, SUBJ and SST-2.

    python benchmarks/sentiment.py [mr|subj|sst2 ...] [--method NAME --out RESULT]

MR (sentence polarity 1.0, Pang and Lee 2005) and SUBJ (Pang and Lee 2004): 10 folds; the line i (from 0) of
either file belongs to fold i mod 10.  SST-2: trained on the phrases of its training table, judged on its dev
table.  Texts are tokenised already and split at white space; words come from the training rows alone.  The
settings are those of Wang and Manning 2012: smoothing 1, C = 1, beta = 0.25, bigrams with the beginning and the
end of the sentence.  beta = 0.1 was chosen for SUBJ inside the training rows of fold 0 (three parts of them held
out in turn: beta 0.1 gives 93.00 %, 0.25 92.43, 0.5 91.63, 1 91.00).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import ROOT, write

from sensorium.core import registry
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, UNK
from sensorium.data.table import Table
from sensorium.data.text_preparer import TextPreparer
from sensorium.data.tokenizers.label import LabelTokenizer
from sensorium.language.registry import ENTRY_POINTS, SCORERS

TEXTS = Path(os.environ.get("SENSORIUM_DATA", ROOT.parent / "shared" / "data")) / "text"
NUM_FOLDS = 10
TABLES = {
    "mr": "lines:sentence_polarity/rt-polarity.*",
    "subj": "lines:subjectivity/*.tok.gt9.5000",
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "multinomial, words": ("naive_bayes", {"ngrams": 1}),
    "multinomial, bigrams": ("naive_bayes", {"ngrams": 2}),
    "multinomial, bigrams, binary": ("naive_bayes", {"ngrams": 2, "binary": True}),
    "bernoulli, bigrams": ("naive_bayes", {"kind": "bernoulli", "ngrams": 2}),
    "complement, bigrams": ("naive_bayes", {"kind": "complement", "ngrams": 2}),
    "NB-SVM, words": ("nb_svm", {"ngrams": 1}),
    "NB-SVM, bigrams": ("nb_svm", {"ngrams": 2}),
    "NB-SVM, bigrams, beta 0.1": ("nb_svm", {"ngrams": 2, "beta": 0.1}),
    "NB-SVM, bigrams, no bias": ("nb_svm", {"ngrams": 2, "bias": False}),
    "SVM, bigrams (beta 1)": ("nb_svm", {"ngrams": 2, "beta": 1.0}),
    "NB-logistic, bigrams": ("nb_svm", {"ngrams": 2, "loss": "logistic"}),
}
Rows = list[tuple[str, str]]


class Words:
    """Texts and labels as a scorer reads them; words and labels are those of the training rows."""

    def __init__(self, train: Rows) -> None:
        self.preparer = TextPreparer(max_tokens=1000, segmenter="blank", vocabulary_size=200_000)
        self.preparer.fit(text for text, _ in train)
        self.labels = LabelTokenizer().fit(label for _, label in train)

    def __call__(self, rows: Rows) -> tuple[torch.Tensor, torch.Tensor, Conditioning]:
        """Return BOS label EOS, the mask, and the words as evidence."""
        word_BT, mask_BT = self.preparer.collate([self.preparer(text) for text, _ in rows])
        token_BT = torch.tensor([[BOS, *self.labels.encode(label), EOS] for _, label in rows])
        empty = Conditioning.empty(len(rows))
        evidence = {"text": torch.where(mask_BT, word_BT, -1)}
        return token_BT, torch.ones_like(token_BT, dtype=torch.bool), Conditioning(empty.memory, {}, evidence)


def accuracies(train: Rows, test: Rows) -> dict[str, dict[str, float]]:
    """Fit and judge every method."""
    words = Words(train)
    found = {}
    examples, (token_BT, _, cond) = words(train), words(test)
    for name, (scorer, options) in METHODS.items():
        component = registry.load(SCORERS, ENTRY_POINTS, scorer)
        model = component(component.Config(**options), words.labels.vocab, 1)
        started = time.perf_counter()
        model.observe(*examples)
        model.estimate()
        seconds = time.perf_counter() - started
        log_p_BV = model.start(cond).log_p_BV
        log_p_BV[:, : UNK + 1] = -torch.inf
        found[name] = {
            "accuracy": float((log_p_BV.argmax(1) == token_BT[:, 1]).float().mean()),
            "nats": float(-log_p_BV.gather(1, token_BT[:, 1:2]).mean()),
            "seconds": seconds,
        }
    return found


def read(spec: str) -> Rows:
    """Read texts and labels."""
    table = Table.open(spec, TEXTS)
    text, label = list(table.column(table.columns[0])), list(table.column(table.columns[1]))
    return list(zip(text, label, strict=True))


def folds_of(rows: Rows) -> np.ndarray:
    """Return each row's fold: its line number in its own file, blank lines aside, modulo ten."""
    seen: dict[str, int] = {}
    folds = []
    for _, label in rows:
        folds.append(seen.setdefault(label, 0) % NUM_FOLDS)
        seen[label] += 1
    return np.array(folds)


def cross_validated(rows: Rows) -> dict[str, dict[str, Any]]:
    """Judge every method on ten folds; returns means, by method."""
    fold_N = folds_of(rows)
    by_fold = []
    for fold in range(NUM_FOLDS):
        train, test = ([rows[i] for i in np.flatnonzero(side)] for side in (fold_N != fold, fold_N == fold))
        by_fold.append(accuracies(train, test))
        print(f"fold {fold}", {name: round(facts["accuracy"], 4) for name, facts in by_fold[-1].items()})
    return {
        name: {
            **{
                key: statistics.fmean(facts[name][key] for facts in by_fold)
                for key in ("accuracy", "nats", "seconds")
            },
            "folds": [facts[name]["accuracy"] for facts in by_fold],
        }
        for name in METHODS
    }


def main(names: list[str], out: str) -> None:
    results: dict[str, Any] = {}
    for name in names:
        if name == "sst2":
            results[name] = accuracies(read("sst2/train.tsv"), read("sst2/dev.tsv"))
        else:
            results[name] = cross_validated(read(TABLES[name]))
        for method, facts in results[name].items():
            print(f"{name:5} {method:32} {100 * facts['accuracy']:6.2f} %")
    write(out, {"folds": "line i of either file is in fold i mod 10", "results": results})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", default=["mr", "subj", "sst2"])
    parser.add_argument("--method", choices=METHODS, help="measure this one alone")
    parser.add_argument("--out", default="sentiment", help="name of the result file")
    asked = parser.parse_args()
    if asked.method:
        METHODS = {asked.method: METHODS[asked.method]}
    main(asked.tables, asked.out)
