"""ROUGE-L: how much of a text and of its reference is one common subsequence of words.

Enters: texts and their references.  Leaves: 0..1, the mean over rows.

    P = max_r lcs(said, r) / words said,   R = max_r lcs(said, r) / words of r,   r over the row's references
    ROUGE-L = (1 + b^2) P R / (R + b^2 P)          b = 1.2

Source: Lin 2004 (W04-1013), section 3; b and the two separate maxima as in COCO's evaluation (pycocoevalcap), whose
values these are.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from sensorium.evaluation.metrics import References, paired
from sensorium.evaluation.word_splits import Split, caption_words

_BETA = 1.2


def rouge_l(predictions: Sequence[str], references: References, *, split: Split = caption_words) -> float:
    """Return the mean ROUGE-L.  Raises DataError as `paired`."""
    return statistics.fmean(rouge_l_rows(predictions, references, split=split))


def rouge_l_rows(
    predictions: Sequence[str], references: References, *, split: Split = caption_words
) -> list[float]:
    """Return each row's ROUGE-L; 0 where nothing is said or nothing is right."""
    return [_row(split(said), [split(text) for text in texts]) for said, texts in paired(predictions, references)]


def _row(said: list[str], references: list[list[str]]) -> float:
    common = [common_length(said, reference) for reference in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(said)
    recall = max(num / len(words) for num, words in zip(common, references, strict=True) if words)
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def common_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    Bit i of `row` is 0 where the length up to word i of `one` grows (Hyyrö 2004, "Bit-parallel LCS-length
    computation revisited"): a word of `other` costs four operations on whole integers.
    """
    places: dict[str, int] = {}
    for i, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << i
    full = (1 << len(one)) - 1
    row = full
    for word in other:
        held = row & places.get(word, 0)
        row = ((row + held) | (row - held)) & full
    return len(one) - row.bit_count()
