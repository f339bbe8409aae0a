"""Counting and convolutions fused: naive Bayes, NB-SVM and a CNN trained from scratch, on MR, SUBJ and SST-2.

    python benchmarks/sentiment_fused.py [mr|subj|sst2] [--keep FOLDER] [--folds 0 1 ...]

Folds, words and counting settings as in `sentiment.py`.  The CNN is `text.cnn` with `readout`, and begins with
skip-gram vectors learned from the training rows of its fold; nothing else is read.  Fusing is a `Product` with
fixed exponents.  The CNN's settings and the exponents were chosen on MR, inside the training rows of fold 0 (folds
1 and 2 held out of it), before any fold was judged; SUBJ and SST-2 take them as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import write
from sentiment import NUM_FOLDS, TABLES, Rows, Words, folds_of, read
from torch import Tensor, nn

from sensorium.core import registry
from sensorium.core.types import Conditioning, MediaBatch
from sensorium.core.vocabulary import UNK
from sensorium.data.word_vectors_training import WordVectorConfig, train_word_vectors
from sensorium.encoders.text_cnn import TextCNN
from sensorium.encoders.text_input import begin_with
from sensorium.language.product import Product
from sensorium.language.readout import Readout
from sensorium.language.registry import ENTRY_POINTS, SCORERS

COUNTING: dict[str, dict[str, Any]] = {"naive_bayes": {"ngrams": 2}, "nb_svm": {"ngrams": 2}}
CNN = {
    "embedding": 64,
    "channels": 64,
    "kernels": (1, 2, 3),
    "dropout": 0.5,
    "embedding_dropout": 0.3,
    "word_dropout": 0.1,
}
VECTORS = {"width": 64, "epochs": 20, "learning_rate": 0.05}
EPOCHS, BATCH_ROWS, LEARNING_RATE, WIDTH = 4, 64, 3e-3, 64
FUSED = {
    "naive Bayes x CNN": {"naive_bayes": 0.3, "cnn": 0.3},
    "NB-SVM x CNN": {"nb_svm": 0.3, "cnn": 0.3},
    "naive Bayes x NB-SVM x CNN": {"naive_bayes": 0.1, "nb_svm": 0.3, "cnn": 0.3},
}


class Network(nn.Module):
    """A CNN and its readout; `losses` and `condition` over rows of words."""

    def __init__(self, words: Words) -> None:
        super().__init__()
        self.encoder = TextCNN(TextCNN.Config(**CNN), words.preparer, WIDTH)
        self.readout = Readout(Readout.Config(), words.labels.vocab, WIDTH)

    def condition(self, cond: Conditioning) -> Conditioning:
        """Encode the words that are the evidence of `cond`, which is kept."""
        word_BT = cond.evidence["text"]
        media = MediaBatch(word_BT.clamp_min(0), word_BT >= 0, torch.arange(len(word_BT)))
        return Conditioning(self.encoder(media), {}, cond.evidence)

    def loss(self, token_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return mean nats a label, ()."""
        log_p_BV = self.readout.start(self.condition(cond)).log_p_BV
        return -log_p_BV.gather(1, token_BT[:, 1:2]).mean()


def batches(length_N: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield rows of about one length together, so that little is padding, in random order."""
    order_N = (length_N + 3 * torch.rand(len(length_N), generator=generator)).argsort()
    parts = order_N.split(BATCH_ROWS)
    return (parts[i] for i in torch.randperm(len(parts), generator=generator).tolist())


def trained(words: Words, train: Rows, seed: int) -> Network:
    """Learn vectors, then descend."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = Network(words)
    texts = [words.preparer(text).tolist() for text, _ in train]
    begin_with(network.encoder, train_word_vectors(texts, words.preparer.vocab, WordVectorConfig(**VECTORS)))
    token_BT, _, cond = words(train)
    word_NT = cond.evidence["text"]
    length_N = (word_NT >= 0).sum(1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    num_steps = EPOCHS * -(-len(train) // BATCH_ROWS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(0.02, 1 - step / num_steps))
    for _ in range(EPOCHS):
        for row_B in batches(length_N, generator):
            empty = Conditioning.empty(len(row_B))
            word_BT = word_NT[row_B, : int(length_N[row_B].max())]
            loss = network.loss(token_BT[row_B], Conditioning(empty.memory, {}, {"text": word_BT}))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def judged(train: Rows, test: Rows, seed: int = 0) -> dict[str, dict[str, float]]:
    """Fit the three, fuse them, and judge all on `test`."""
    words = Words(train)
    parts: dict[str, Any] = {}
    started = time.perf_counter()
    for name, options in COUNTING.items():
        component = registry.load(SCORERS, ENTRY_POINTS, name)
        parts[name] = component(component.Config(**options), words.labels.vocab, WIDTH)
        parts[name].observe(*words(train))
        parts[name].estimate()
    counted = time.perf_counter()
    network = trained(words, train, seed)
    descended = time.perf_counter()
    parts["cnn"] = network.readout
    scorers = dict(parts)
    for name, weights in FUSED.items():
        scorers[name] = Product([parts[part] for part in weights]).set_weights(list(weights.values()))
    token_BT, mask_BT, cond = words(test)
    with torch.no_grad():
        cond = network.condition(cond)
        found = {name: measured(scorer, token_BT, mask_BT, cond) for name, scorer in scorers.items()}
    found["cnn"]["seconds"] = descended - counted
    found["nb_svm"]["seconds"] = counted - started
    return found


def measured(scorer: Any, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> dict[str, float]:
    """Return accuracy and nats of the labels."""
    log_p_BV, _ = scorer.extend(scorer.start(cond), token_BT[:, :1], mask_BT[:, :1])
    log_p_BV[:, : UNK + 1] = -torch.inf
    right_B = log_p_BV.argmax(1) == token_BT[:, 1]
    return {"accuracy": float(right_B.float().mean()), "nats": float(-log_p_BV.gather(1, token_BT[:, 1:2]).mean())}


def cross_validated(name: str, keep: Path, folds: list[int]) -> dict[str, dict[str, Any]]:
    """Judge on ten folds; returns means, by method.  Folds that `keep` holds are not judged again."""
    rows = read(TABLES[name])
    fold_N = folds_of(rows)
    by_fold = []
    for fold in folds:
        path = keep / f"{name}-{fold}.json"
        if not path.exists():
            train, test = ([rows[i] for i in np.flatnonzero(side)] for side in (fold_N != fold, fold_N == fold))
            path.write_text(json.dumps(judged(train, test, seed=fold)))
        by_fold.append(json.loads(path.read_text()))
        print(
            f"fold {fold}", {name: round(facts["accuracy"], 4) for name, facts in by_fold[-1].items()}, flush=True
        )
    return {
        method: {
            **{key: statistics.fmean(facts[method][key] for facts in by_fold) for key in by_fold[0][method]},
            "folds": [facts[method]["accuracy"] for facts in by_fold],
        }
        for method in by_fold[0]
    }


def main(name: str, keep: Path, folds: list[int]) -> None:
    if name == "sst2":
        results: dict[str, Any] = judged(read("sst2/train.tsv"), read("sst2/dev.tsv"))
    else:
        keep.mkdir(parents=True, exist_ok=True)
        results = cross_validated(name, keep, folds)
    for method, facts in results.items():
        print(f"{name:5} {method:32} {100 * facts['accuracy']:6.2f} %")
    if len(folds) == NUM_FOLDS:
        settings = {"cnn": CNN, "vectors": VECTORS, "epochs": EPOCHS, "rate": LEARNING_RATE, "exponents": FUSED}
        told = {"folds": "line i of either file is in fold i mod 10", "load": os.getloadavg(), "settings": settings}
        write(f"sentiment_fused_{name}", {**told, "results": results})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", nargs="?", default="mr", choices=["mr", "subj", "sst2"])
    parser.add_argument("--keep", type=Path, help="keep each fold's figures here, and take up what is here")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(NUM_FOLDS)))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        main(asked.table, asked.keep or Path(scratch), asked.folds)
