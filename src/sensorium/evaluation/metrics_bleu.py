"""BLEU over a corpus (Papineni et al. 2002, doi:10.3115/1073083.1073135).

Enters: texts and their references.  Leaves: 0..100, as sacrebleu gives it.

    BLEU-N = 100 BP exp(1/N sum_n log p_n),  BP = min(1, exp(1 - r / c))

p_n: clipped matches over n-grams of all predictions; c: their words; r: the words of the closest
references (the shorter of two equally close).  The sums over rows suffice, so that an interval by
resampling costs next to nothing: `bootstrap_interval(bleu_of, bleu_counts(...))`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sensorium.core.errors import DataError
from sensorium.evaluation.metrics import References, paired
from sensorium.evaluation.word_splits import AS_SACREBLEU, SPLITS, Split, caption_words

Smoothing = Literal["none", "exp"]


@dataclass(frozen=True, slots=True)
class BleuCounts:
    """What BLEU needs to know of one row.

    Attributes:
        num_matches: clipped matches by order, from 1.
        num_ngrams: n-grams of the prediction by order.
        num_words: words of the prediction.
        num_reference_words: words of the closest reference.
    """

    num_matches: tuple[int, ...]
    num_ngrams: tuple[int, ...]
    num_words: int
    num_reference_words: int


def bleu(
    predictions: Sequence[str],
    references: References,
    *,
    max_order: int = 4,
    smoothing: Smoothing = "none",
    split: Split = str.split,
) -> float:
    """Return BLEU, 0..100.

    Args:
        predictions: a text a row.
        references: one text a row or several.
        max_order: the longest n-gram.
        smoothing: "none": 0 if an order has no match; "exp": the k-th such order counts 1 / 2^k
            matches (Chen and Cherry 2014, NIST's mteval).
        split: text to words; by default at blanks, as sacrebleu with tokenize="none".

    Raises:
        DataError: no rows, or predictions and references that do not pair.
    """
    return bleu_of(bleu_counts(predictions, references, max_order=max_order, split=split), smoothing)


def smoothing_of(split: Split) -> Smoothing:
    """Say how BLEU over such words is smoothed: over sacrebleu's as sacrebleu does, else (as COCO's) not at all."""
    return "exp" if any(split is SPLITS[name] for name in AS_SACREBLEU) else "none"


def bleu_counts(
    predictions: Sequence[str], references: References, *, max_order: int = 4, split: Split = str.split
) -> list[BleuCounts]:
    """Count matches and lengths of every row; raises DataError as `bleu` does."""
    pairs = paired(predictions, references)
    return [
        _count_row(split(prediction), [split(text) for text in texts], max_order) for prediction, texts in pairs
    ]


def sentence_bleu(row: BleuCounts) -> float:
    """Return the BLEU of one row, 0..100: smoothed, up to its longest n-gram, as sacrebleu judges sentences.

    A text of two words is judged by words and pairs; one without a reference's word has 0.
    """
    order = sum(num > 0 for num in row.num_ngrams)
    short = BleuCounts(row.num_matches[:order], row.num_ngrams[:order], row.num_words, row.num_reference_words)
    return bleu_of([short], "exp")


def bleu_of(rows: Sequence[BleuCounts], smoothing: Smoothing = "none") -> float:
    """Sum the counts and return BLEU, 0..100.  Raises DataError if there are none."""
    if not rows:
        raise DataError("there are no predictions to judge")
    matches = [sum(order) for order in zip(*(row.num_matches for row in rows), strict=True)]
    ngrams = [sum(order) for order in zip(*(row.num_ngrams for row in rows), strict=True)]
    precisions = _precisions(matches, ngrams, smoothing)
    if not precisions or min(precisions) == 0:
        return 0.0
    num_words, num_reference_words = sum(r.num_words for r in rows), sum(r.num_reference_words for r in rows)
    brevity = min(0.0, 1 - num_reference_words / num_words)
    return 100 * math.exp(brevity + math.fsum(map(math.log, precisions)) / len(precisions))


def _precisions(matches: Sequence[int], ngrams: Sequence[int], smoothing: Smoothing) -> list[float]:
    """Divide; no order at all where nothing matches or texts are too short for the longest n-gram."""
    if not any(matches) or not all(ngrams):
        return []
    precisions, share = [], 1.0
    for num_matches, num_ngrams in zip(matches, ngrams, strict=True):
        if num_matches == 0 and smoothing == "exp":
            share /= 2
            precisions.append(share / num_ngrams)
        else:
            precisions.append(num_matches / num_ngrams)
    return precisions


def _count_row(words: list[str], references: list[list[str]], max_order: int) -> BleuCounts:
    matches, ngrams = [], []
    for order in range(1, max_order + 1):
        found = _ngrams(words, order)
        most = Counter[tuple[str, ...]]()
        for reference in references:
            most |= _ngrams(reference, order)
        matches.append((found & most).total())
        ngrams.append(found.total())
    closest = min((abs(len(reference) - len(words)), len(reference)) for reference in references)[1]
    return BleuCounts(tuple(matches), tuple(ngrams), len(words), closest)


def _ngrams(words: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[i:] for i in range(order)), strict=False))


def bleu1(predictions: Sequence[str], references: References, *, split: Split = caption_words) -> float:
    """Return BLEU-1, 0..100."""
    return bleu(predictions, references, max_order=1, smoothing=smoothing_of(split), split=split)


def bleu2(predictions: Sequence[str], references: References, *, split: Split = caption_words) -> float:
    """Return BLEU-2, 0..100."""
    return bleu(predictions, references, max_order=2, smoothing=smoothing_of(split), split=split)


def bleu3(predictions: Sequence[str], references: References, *, split: Split = caption_words) -> float:
    """Return BLEU-3, 0..100."""
    return bleu(predictions, references, max_order=3, smoothing=smoothing_of(split), split=split)


def bleu4(predictions: Sequence[str], references: References, *, split: Split = caption_words) -> float:
    """Return BLEU-4, 0..100."""
    return bleu(predictions, references, max_order=4, smoothing=smoothing_of(split), split=split)
