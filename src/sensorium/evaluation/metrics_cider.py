"""CIDEr and CIDEr-D: how near a text is to all of its references, in n-grams weighed by how telling they are.

Enters: texts and their references.  Leaves: 0..10, the mean over rows (COCO's tables print it times 100).

    g_n(s)[w]   = count of n-gram w in s * log( rows / rows whose references hold w )         tf-idf, n = 1..4
    CIDEr_n     = mean over references r of  g_n(c) . g_n(r) / |g_n(c)| |g_n(r)|
    CIDEr-D_n   = mean over r of  exp(-(l(c) - l(r))^2 / 2 s^2)  min(g_n(c), g_n(r)) . g_n(r) / |g_n(c)| |g_n(r)|
    each        = 10 * mean over n

l: length in bigrams, s = 6.  What is telling is decided by the references of the rows that are judged, so that one
row alone has 0, and values of different test sets do not compare.
Source: Vedantam et al. 2015 (arXiv 1411.5726), equations 1-4 and section 6; as in pycocoevalcap (whose `Cider` is
CIDEr-D, without stemming), whose values these are.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from sensorium.evaluation.metrics import References, paired
from sensorium.evaluation.word_splits import Split, caption_words

MAX_ORDER = 4
_SIGMA = 6.0

Ngram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Weighed:
    """A text as n-grams by order, each with its tf-idf; the norms of these; and its number of bigrams."""

    orders: tuple[dict[Ngram, float], ...]
    norms: tuple[float, ...]
    num_bigrams: int


class DocumentFrequencies:
    """How many rows' references hold each n-gram.

    Args:
        references: each row's references, as words.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[str]]]) -> None:
        counted = Counter[Ngram]()
        for row in references:
            counted.update(set(chain.from_iterable(_ngrams(words) for words in row)))
        self._log_rows = math.log(len(references)) if references else 0.0
        self._telling = {ngram: self._log_rows - math.log(num) for ngram, num in counted.items()}

    def weigh(self, words: Sequence[str]) -> Weighed:
        """Return the tf-idf of a text; an n-gram that no reference holds counts as if one did."""
        orders: tuple[dict[Ngram, float], ...] = tuple({} for _ in range(MAX_ORDER))
        for ngram, times in Counter(_ngrams(words)).items():
            orders[len(ngram) - 1][ngram] = times * self._telling.get(ngram, self._log_rows)
        norms = tuple(math.sqrt(sum(value * value for value in order.values())) for order in orders)
        return Weighed(orders, norms, max(0, len(words) - 1))


def cider(predictions: Sequence[str], references: References, *, split: Split = caption_words) -> float:
    """Return the mean CIDEr, 0..10.  Raises DataError as `paired`."""
    return statistics.fmean(cider_rows(predictions, references, split=split))


def cider_d(predictions: Sequence[str], references: References, *, split: Split = caption_words) -> float:
    """Return the mean CIDEr-D, 0..10.  Raises DataError as `paired`."""
    return statistics.fmean(cider_d_rows(predictions, references, split=split))


def cider_rows(predictions: Sequence[str], references: References, *, split: Split = caption_words) -> list[float]:
    """Return each row's CIDEr, by the document frequencies of all rows."""
    return _rows(predictions, references, split, is_d=False)


def cider_d_rows(
    predictions: Sequence[str], references: References, *, split: Split = caption_words
) -> list[float]:
    """Return each row's CIDEr-D, by the document frequencies of all rows."""
    return _rows(predictions, references, split, is_d=True)


def _rows(predictions: Sequence[str], references: References, split: Split, *, is_d: bool) -> list[float]:
    pairs = [(split(said), [split(text) for text in texts]) for said, texts in paired(predictions, references)]
    frequencies = DocumentFrequencies([texts for _, texts in pairs])
    found = []
    for said, texts in pairs:
        weighed = frequencies.weigh(said)
        total = sum(_similarity(weighed, frequencies.weigh(words), is_d=is_d) for words in texts)
        found.append(10.0 * total / (MAX_ORDER * len(texts)))
    return found


def _similarity(said: Weighed, reference: Weighed, *, is_d: bool) -> float:
    """Return the sum of cosines over orders."""
    total = 0.0
    for one, other, norms in zip(
        said.orders, reference.orders, zip(said.norms, reference.norms, strict=True), strict=True
    ):
        shared = one.keys() & other.keys()
        if not shared or not norms[0] or not norms[1]:
            continue
        dot = sum((min(one[w], other[w]) if is_d else one[w]) * other[w] for w in shared)
        total += dot / (norms[0] * norms[1])
    if not is_d:
        return total
    return total * math.exp(-((said.num_bigrams - reference.num_bigrams) ** 2) / (2 * _SIGMA**2))


def _ngrams(words: Sequence[str]) -> chain[Ngram]:
    """Return every n-gram of 1 to 4 words, as often as it occurs."""
    return chain.from_iterable(
        zip(*(words[i:] for i in range(order)), strict=False) for order in range(1, MAX_ORDER + 1)
    )
