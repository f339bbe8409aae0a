"""Judge tag sequences by their spans, as conlleval does, and by their tokens.

Enters: plain lists, a text of tags parted by blanks a row, such as 'B-NP I-NP O', in any scheme of `data.tagging`.
Leaves: one number, 0..1.

    precision = right spans / predicted spans,   recall = right spans / spans of the references
    F1 = 2 precision recall / (precision + recall)

A span is right if its type and both its ends are.  Sources: conlleval (Tjong Kim Sang and Buchholz 2000);
seqeval's default mode gives the same numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sensorium.core.errors import DataError
from sensorium.core.text_file import fields
from sensorium.data.tagging import spans
from sensorium.evaluation.metrics import References, paired

UNTAGGED = ""


def token_counts(predictions: Sequence[str], references: References) -> list[tuple[int, int]]:
    """Return (tokens of the right tag, tokens) of each row.  Raises DataError as `span_counts`."""
    rows = _aligned(predictions, references)
    return [(sum(tag == wanted for tag, wanted in zip(*row, strict=True)), len(row[1])) for row in rows]


@dataclass(frozen=True, slots=True)
class SpanCounts:
    """How many spans were right, predicted and referred to."""

    right: int
    predicted: int
    referred: int

    @property
    def precision(self) -> float:
        """Right of predicted; where nothing was predicted, 1 if nothing was referred to either."""
        return self.right / self.predicted if self.predicted else float(not self.referred)

    @property
    def recall(self) -> float:
        """Right of referred; where the references have no span, 1 if none was predicted either."""
        return self.right / self.referred if self.referred else float(not self.predicted)

    @property
    def f1(self) -> float:
        """The harmonic mean of both; 1 where there is no span on either side, since then nothing is wrong."""
        either = self.predicted + self.referred
        return 2 * self.right / either if either else 1.0


def span_counts(predictions: Sequence[str], references: References) -> dict[str, SpanCounts]:
    """Count by type; every type of either side is there.

    Raises:
        DataError: a row whose prediction has more tags than its reference.
    """
    right, predicted, referred = Counter[str](), Counter[str](), Counter[str]()
    for tags, wanted in _aligned(predictions, references):
        found, meant = set(spans(tags)), set(spans(wanted))
        predicted.update(span.type for span in found)
        referred.update(span.type for span in meant)
        right.update(span.type for span in found & meant)
    kinds = sorted(predicted.keys() | referred.keys())
    return {kind: SpanCounts(right[kind], predicted[kind], referred[kind]) for kind in kinds}


def total_counts(predictions: Sequence[str], references: References) -> SpanCounts:
    """Count over all types together.  Raises DataError as `span_counts`."""
    each = span_counts(predictions, references).values()
    return SpanCounts(
        sum(counts.right for counts in each),
        sum(counts.predicted for counts in each),
        sum(counts.referred for counts in each),
    )


def span_f1(predictions: Sequence[str], references: References) -> float:
    """Return F1 over all spans."""
    return total_counts(predictions, references).f1


def span_precision(predictions: Sequence[str], references: References) -> float:
    """Return precision over all spans."""
    return total_counts(predictions, references).precision


def span_recall(predictions: Sequence[str], references: References) -> float:
    """Return recall over all spans."""
    return total_counts(predictions, references).recall


def token_accuracy(predictions: Sequence[str], references: References) -> float:
    """Return the share of tokens whose tag is the reference's."""
    counts = token_counts(predictions, references)
    right, total = sum(right for right, _ in counts), sum(total for _, total in counts)
    return right / total if total else 1.0


def _aligned(predictions: Sequence[str], references: References) -> list[tuple[list[str], list[str]]]:
    """Return the tags of both sides, as many.

    Tokens behind a prediction's last tag (of a text cut at its longest length, or hidden) are untagged, which is no
    tag's equal and outside every span.
    """
    rows = []
    for number, (prediction, (reference, *_)) in enumerate(paired(predictions, references)):
        tags, wanted = fields(prediction), fields(reference)
        if len(tags) > len(wanted):
            raise DataError(
                f"{len(tags)} tags do not pair with the reference's {len(wanted)}", where=f"row {number}"
            )
        rows.append((tags + [UNTAGGED] * (len(wanted) - len(tags)), wanted))
    return rows
