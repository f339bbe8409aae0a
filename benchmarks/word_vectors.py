"""Word vectors of a million words: speed, and rank correlation with people's judgements, beside gensim.

    python benchmarks/word_vectors.py [--peer PYTHON] [--epochs 3]

Ours and the peer read `books_train_1m.txt` in turn, in one run, with one thread: width 100, window 5, 5 negative
words, words seen 5 times and more.  PYTHON is an interpreter that has gensim, which also brings WordSim-353
(Finkelstein et al. 2002); without it only our speeds are measured.  GloVe has no counterpart in gensim.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from record import ROOT, write

from sensorium.core.vocabulary import Vocab
from sensorium.data.word_vectors import WordVectors
from sensorium.data.word_vectors_training import WordVectorConfig, train_word_vectors

TEXT = Path(os.environ.get("SENSORIUM_DATA", ROOT.parent / "shared" / "data")) / "ngram" / "books_train_1m.txt"
MIN_COUNT = 5
PEER = """
import json, sys, time
from gensim.models import Word2Vec
from gensim.test.utils import datapath
text, method, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3])
sentences = [line.split() for line in open(text)]
started = time.perf_counter()
model = Word2Vec(sentences, vector_size=100, window=5, negative=5, min_count=5, sample=1e-3, workers=1, seed=0,
                 sg=int(method == "skip_gram"), epochs=epochs)
seconds = time.perf_counter() - started
pairs = datapath("wordsim353.tsv")
found = model.wv.evaluate_word_pairs(pairs)
print(json.dumps({"seconds": seconds, "rank_correlation": float(found[1][0]), "unknown_percent": float(found[2]),
                  "pairs": pairs}))
"""


def ours(sentences: list[list[str]], method: str, epochs: int) -> tuple[float, WordVectors]:
    """Count the vocabulary and learn, timed."""
    started = time.perf_counter()
    counts = Counter(word for sentence in sentences for word in sentence)
    vocab = Vocab.of([word for word, count in counts.most_common() if count >= MIN_COUNT])
    config = WordVectorConfig.parse({"method": method, "epochs": epochs})
    vectors = train_word_vectors((vocab.ids(sentence) for sentence in sentences), vocab, config)
    return time.perf_counter() - started, vectors


def rank_correlation(vectors: WordVectors, pairs: Path) -> tuple[float, int]:
    """Return Spearman's correlation of cosines with judgements, and how many pairs have both words."""
    judged, cosines = [], []
    with pairs.open() as file:
        for row in csv.reader((line for line in file if not line.startswith("#")), delimiter="\t"):
            one, other = row[0].lower(), row[1].lower()
            if one in vectors.row_of and other in vectors.row_of:
                judged.append(float(row[2]))
                cosines.append(float(vectors.unit(one) @ vectors.unit(other)))
    return float(np.corrcoef(ranks(judged), ranks(cosines))[0, 1]), len(judged)


def ranks(values: list[float]) -> np.ndarray:
    """Return each value's rank; equal ones share theirs."""
    _, at, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[at]


def main(peer: str | None, epochs: int) -> None:
    sentences = [line.split() for line in TEXT.read_text().splitlines()]
    num_words = sum(map(len, sentences)) * epochs
    results: dict[str, Any] = {}
    for method in ("skip_gram", "cbow", "glove"):
        seconds, vectors = ours(sentences, method, epochs)
        facts: dict[str, Any] = {"ours": {"seconds": seconds, "words_per_s": num_words / seconds}}
        facts["ours"]["king"] = [word for word, _ in vectors.nearest("king", 8)]
        results[method] = facts
        if peer is None:
            continue
        # gensim has no GloVe; its run still says where the judgements lie.
        asked = [peer, "-c", PEER, str(TEXT), method, str(epochs if method != "glove" else 1)]
        said = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
        correlation, num_pairs = rank_correlation(vectors, Path(said.pop("pairs")))
        facts["ours"] |= {"rank_correlation": correlation, "pairs": num_pairs}
        if method != "glove":
            facts["gensim"] = {**said, "words_per_s": num_words / said["seconds"]}
        print(
            method, {who: {k: v for k, v in what.items() if k != "king"} for who, what in facts.items()}, flush=True
        )
    write("word_vectors", {"epochs": epochs, "words": num_words, "load": os.getloadavg(), "results": results})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="an interpreter that has gensim")
    parser.add_argument("--epochs", type=int, default=3)
    asked = parser.parse_args()
    main(asked.peer, asked.epochs)
