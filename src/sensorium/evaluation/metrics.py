"""Judge texts against references, and likelihoods by themselves.

Enters: plain lists, one entry a row.  Leaves: one number, a share in 0..1 unless said otherwise.
A row's references are one text, or several of which any is right.

Every metric of texts reads its rows through `paired`, which gives both sides one form (`compared`): composed (NFC),
one sign for apostrophes, without the signs for start and end that tutorials write into captions.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from sensorium.core.errors import DataError
from sensorium.data.tokenizers.characters import composed, one_line
from sensorium.data.tokenizers.words import marks

References = Sequence[str] | Sequence[Sequence[str]]
Metric = Callable[[Sequence[str], References], float]


def paired(predictions: Sequence[str], references: References) -> list[tuple[str, tuple[str, ...]]]:
    """Pair each prediction with its references, all as they are `compared`; a plain text is the only one.

    Raises:
        DataError: no rows, more predictions than references or fewer, or a row without a reference.
    """
    if not len(predictions):
        raise DataError("there are no predictions to judge")
    if len(predictions) != len(references):
        raise DataError(f"{len(predictions)} predictions do not pair with {len(references)} references")
    pairs = [
        (compared(prediction), (compared(given),) if isinstance(given, str) else tuple(map(compared, given)))
        for prediction, given in zip(predictions, references, strict=True)
    ]
    for row, (_, texts) in enumerate(pairs):
        if not texts:
            raise DataError("there is no reference", where=f"row {row}")
    return pairs


def compared(text: str) -> str:
    """Return a text as every metric reads it, on both sides alike; what tells words apart stays."""
    return composed(unframed(text)).replace("\u2019", "'")


def unframed(text: str) -> str:
    """Return a text without the signs that tutorials put around captions, `startseq` and `endseq` or such.

    Models add signs of their own; these would be scored as words that are always right.  A text that is nothing but
    one such sign says it: labels may be called so.
    """
    inner = _FIRST_SIGN.sub("", text)
    last = _LAST_SIGN.search(inner)
    inner, has_both = (inner[: last.start()].rstrip(), inner != text) if last else (inner, False)
    return inner if inner or has_both else text


def is_frame(word: str) -> bool:
    """Say whether a word is one of the signs that `unframed` takes away."""
    return bool(_FIRST_SIGN.fullmatch(word) or _LAST_SIGN.fullmatch(word))


_FIRST_SIGN = re.compile(r"\A\s*(?:startseq\b|<\s*(?:s|start|sos|bos)\s*>)\s*", re.IGNORECASE)
_LAST_SIGN = re.compile(r"(?:\bendseq|<\s*(?:/\s*s|end|eos)\s*>)\s*\Z", re.IGNORECASE)


def accuracy(predictions: Sequence[str], references: References) -> float:
    """Return the share of predictions that equal a reference, letter by letter, but for surplus blanks."""
    pairs = _labels(predictions, references)
    return sum(prediction in texts for prediction, texts in pairs) / len(pairs)


def _labels(predictions: Sequence[str], references: References) -> list[tuple[str, tuple[str, ...]]]:
    pairs = paired(predictions, references)
    return [(one_line(prediction), tuple(map(one_line, texts))) for prediction, texts in pairs]


def exact_match(predictions: Sequence[str], references: References) -> float:
    """Return the share of predictions that equal a reference once both are `normalised`.

    Texts of which nothing would be left ("+", "A", "?!") are compared as they stand, in lower case: SQuAD's script
    takes all of them for one.
    """

    def form(text: str) -> str:
        return normalised(text) or one_line(text.lower())

    pairs = paired(predictions, references)
    return sum(form(prediction) in map(form, texts) for prediction, texts in pairs) / len(pairs)


def normalised(text: str) -> str:
    """Lower the case, drop ASCII punctuation, then the articles a, an, the, then surplus blanks.

    As SQuAD's official script does (Rajpurkar et al. 2016, arXiv 1606.05250).
    """
    letters = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", letters).split())


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(rf"\b(a|an|the)\b(?![{marks()}])")  # a mark that follows makes it another word


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
    for prediction, label in labelled(predictions, references):
        true_positives[label] += prediction == label
        predicted[prediction] += 1
        referred[label] += 1
    labels = predicted.keys() | referred.keys()
    return math.fsum(judge(true_positives[x], predicted[x], referred[x]) for x in labels) / len(labels)


def labelled(predictions: Sequence[str], references: References) -> list[tuple[str, str]]:
    """Return each row's predicted label and its right one: of several the predicted one, else the first."""
    pairs = _labels(predictions, references)
    return [(prediction, prediction if prediction in texts else texts[0]) for prediction, texts in pairs]


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
