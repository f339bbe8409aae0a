"""Judge texts against references, and likelihoods by themselves.

Enters: plain lists, one entry a row.  Leaves: one number, a share in 0..1 unless said otherwise.
A row's references are one text, or several of which any is right.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from sensorium.core.errors import DataError

References = Sequence[str] | Sequence[Sequence[str]]
Metric = Callable[[Sequence[str], References], float]


def paired(predictions: Sequence[str], references: References) -> list[tuple[str, tuple[str, ...]]]:
    """Pair each prediction with its references; a plain text is the only one.

    Raises:
        DataError: no rows, more predictions than references or fewer, or a row without a reference.
    """
    if not len(predictions):
        raise DataError("there are no predictions to judge")
    if len(predictions) != len(references):
        raise DataError(f"{len(predictions)} predictions do not pair with {len(references)} references")
    pairs = [
        (prediction, (given,) if isinstance(given, str) else tuple(given))
        for prediction, given in zip(predictions, references, strict=True)
    ]
    for row, (_, texts) in enumerate(pairs):
        if not texts:
            raise DataError("there is no reference", where=f"row {row}")
    return pairs


def accuracy(predictions: Sequence[str], references: References) -> float:
    """Return the share of predictions that equal a reference, letter by letter."""
    pairs = paired(predictions, references)
    return sum(prediction in texts for prediction, texts in pairs) / len(pairs)


def exact_match(predictions: Sequence[str], references: References) -> float:
    """Return the share of predictions that equal a reference once both are `normalised`."""
    pairs = paired(predictions, references)
    return sum(normalised(prediction) in map(normalised, texts) for prediction, texts in pairs) / len(pairs)


def normalised(text: str) -> str:
    """Lower the case, drop ASCII punctuation, then the articles a, an, the, then surplus blanks.

    As SQuAD's official script does (Rajpurkar et al. 2016, arXiv 1606.05250).
    """
    letters = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", letters).split())


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def macro_f1(predictions: Sequence[str], references: References) -> float:
    """Average F1 = 2 TP / (2 TP + FP + FN) over every label that was predicted or referred to.

    Of several references the one that was predicted counts, else the first.
    """
    # 2 TP + FP + FN = predicted + referred, which no label of either has at 0.
    return _mean_over_labels(predictions, references, lambda right, said, meant: 2 * right / (said + meant))


def macro_precision(predictions: Sequence[str], references: References) -> float:
    """Average TP / (TP + FP) over the labels of `macro_f1`; 0 for one that was never predicted."""
    return _mean_over_labels(predictions, references, lambda right, said, _: right / max(said, 1))


def macro_recall(predictions: Sequence[str], references: References) -> float:
    """Average TP / (TP + FN) over the labels of `macro_f1`; 0 for one that was never referred to."""
    return _mean_over_labels(predictions, references, lambda right, _, meant: right / max(meant, 1))


def _mean_over_labels(
    predictions: Sequence[str], references: References, judge: Callable[[int, int, int], float]
) -> float:
    """Average `judge` of how often each label was right, predicted and referred to."""
    true_positives, predicted, referred = Counter[str](), Counter[str](), Counter[str]()
    for prediction, texts in paired(predictions, references):
        label = prediction if prediction in texts else texts[0]
        true_positives[label] += prediction == label
        predicted[prediction] += 1
        referred[label] += 1
    labels = predicted.keys() | referred.keys()
    return math.fsum(judge(true_positives[x], predicted[x], referred[x]) for x in labels) / len(labels)


def perplexity(nll: Sequence[float], num_tokens: Sequence[int]) -> float:
    """Return exp(nats per token), >= 1; infinite where a row is impossible.

    Args:
        nll: each row's negative log-likelihood in nats, summed over its tokens.
        num_tokens: how many tokens, EOS included.

    Raises:
        DataError: no tokens, or lists of unequal length.
    """
    if len(nll) != len(num_tokens):
        raise DataError(f"{len(nll)} likelihoods do not pair with {len(num_tokens)} counts of tokens")
    total = sum(num_tokens)
    if not total:
        raise DataError("there are no tokens to judge")
    try:
        return math.exp(math.fsum(nll) / total)
    except OverflowError:
        return math.inf
