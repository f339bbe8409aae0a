"""Word and character error rates of transcripts.

    rate = (substitutions + deletions + insertions) / words (or characters) of the references

Enters: texts and their references.  Leaves: a share >= 0, above 1 where more is inserted than was said; errors and
lengths are summed over all rows first (as jiwer and NIST's sclite do).  Runs of white space count as one blank.
Of several references the one with the fewest errors for its length counts.  Where no reference says anything, each
word (or character) written is an error and the length counts as 1: 0 where nothing is written (as jiwer does).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from sensorium.evaluation.metrics import References, paired

Split = Callable[[str], Sequence[Hashable]]


def word_error_rate(predictions: Sequence[str], references: References, *, split: Split = str.split) -> float:
    """Return the share of words that are wrong.  Raises DataError as `paired`."""
    return _rate(word_errors(predictions, references, split=split))


def character_error_rate(predictions: Sequence[str], references: References) -> float:
    """Return the share of characters that are wrong.  Raises DataError as `paired`."""
    return _rate(character_errors(predictions, references))


def edit_distance(got: Sequence[Hashable], want: Sequence[Hashable]) -> int:
    """Count the fewest substitutions, deletions and insertions that make `got` from `want` (Levenshtein 1966).

    Row by row, D[i, j] = min(D[i-1, j] + 1, D[i-1, j-1] + [differ], D[i, j-1] + 1); the last term along a whole
    row is a running minimum of D[i, j] - j.
    """
    if not len(got) or not len(want):
        return max(len(got), len(want))
    number: dict[Hashable, int] = {}
    got_J = np.array([number.setdefault(item, len(number)) for item in got])
    place_J = np.arange(len(got) + 1)
    row_J = place_J
    for i, item in enumerate(want, start=1):
        differs_J = got_J != number.get(item, -1)
        best_J = np.minimum(row_J[1:] + 1, row_J[:-1] + differs_J)
        row_J = np.minimum.accumulate(np.concatenate([[i], best_J]) - place_J) + place_J
    return int(row_J[-1])


def word_errors(
    predictions: Sequence[str], references: References, *, split: Split = str.split
) -> list[tuple[int, int]]:
    """Return (wrong words, words said) of each row."""
    return _errors(predictions, references, split)


def character_errors(predictions: Sequence[str], references: References) -> list[tuple[int, int]]:
    """Return (wrong characters, characters said) of each row."""
    return _errors(predictions, references, lambda text: " ".join(text.split()))


def _errors(predictions: Sequence[str], references: References, split: Split) -> list[tuple[int, int]]:
    counts = []
    for prediction, texts in paired(predictions, references):
        got = split(prediction)
        tried = [(edit_distance(got, want), len(want)) for want in map(split, texts)]
        counts.append(min(tried, key=lambda pair: pair[0] / max(pair[1], 1)))
    return counts


def _rate(counts: Sequence[tuple[int, int]]) -> float:
    num_errors, length = sum(errors for errors, _ in counts), sum(size for _, size in counts)
    return num_errors / max(length, 1)
