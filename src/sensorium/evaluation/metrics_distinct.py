"""Distinct-n: how varied all texts together are.  References are not read.

Enters: texts.  Leaves: 0..1.

    distinct-n = different n-grams of all texts / n-grams of all texts

Source: Li et al. 2016 (arXiv 1510.03055), section 5.2, there divided by words; divided by n-grams, as is common
since, texts without any repetition have 1.  It falls with the number of texts, so compare equal numbers; and a
bootstrap, which draws texts twice, would always find less, so that there is no interval.
"""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.evaluation.metrics import References, paired
from sensorium.evaluation.word_splits import Split, caption_words


def distinct(predictions: Sequence[str], order: int, *, split: Split = caption_words) -> float:
    """Return the share of n-grams that are different; 0 where texts are too short to have one."""
    different, total = set[tuple[str, ...]](), 0
    for text in predictions:
        words = split(text)
        ngrams = list(zip(*(words[i:] for i in range(order)), strict=False))
        different.update(ngrams)
        total += len(ngrams)
    return len(different) / total if total else 0.0


def distinct1(predictions: Sequence[str], references: References, *, split: Split = caption_words) -> float:
    """Return distinct-1.  Raises DataError as `paired`."""
    return distinct([said for said, _ in paired(predictions, references)], 1, split=split)


def distinct2(predictions: Sequence[str], references: References, *, split: Split = caption_words) -> float:
    """Return distinct-2.  Raises DataError as `paired`."""
    return distinct([said for said, _ in paired(predictions, references)], 2, split=split)
