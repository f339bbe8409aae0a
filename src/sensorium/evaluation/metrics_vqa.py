"""VQA accuracy: an answer is as right as people gave it.

Enters: predicted answers, and for each question the answers of its (ten) people, as a list or as the JSON text of
one (column `answers` of `vqa:` tables).  Leaves: the mean over questions, 0..1.

    acc(a) = mean over people of min(1, |others who said a| / 3)

Where there are fewer than three others, all of them are enough; of one person alone, the answer itself decides.
Both sides are brought to one form first: case, punctuation, articles, number words.
Source: Antol et al. 2015, "VQA" (arXiv 1505.00468), section 2; the form is that of its evaluation code
(GT-Vision-Lab/VQA, `vqaEval.py`), but that apostrophes are left out, where it puts forgotten ones in by a list.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence

from sensorium.core.errors import DataError
from sensorium.evaluation.metrics import References, paired

ENOUGH = 3
"""How many others make an answer wholly right."""

_NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_ARTICLES = frozenset({"a", "an", "the"})
_PUNCTUATION = ';:/[]"()=+\\_-><@`,?!{}'
_APOSTROPHES = str.maketrans("", "", "'\u2019")
_PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")
_COMMA_IN_NUMBER = re.compile(r"\d,\d")


def vqa_accuracy(predictions: Sequence[str], references: References) -> float:
    """Average over questions how many of the people each predicted answer agrees with, as the module says.

    Raises:
        DataError: as `paired`; or a JSON list that holds something else than texts.
    """
    scores = []
    for prediction, given in paired(predictions, references):
        answers = [vqa_form(answer) for answer in _people(given)]
        same = Counter(answers)[vqa_form(prediction)]
        enough = min(ENOUGH, len(answers) - 1)
        if not enough:
            scores.append(float(same))
            continue
        # Who said it has one fewer other who did.
        total = same * min(1.0, max(0, same - 1) / enough) + (len(answers) - same) * min(1.0, same / enough)
        scores.append(total / len(answers))
    return sum(scores) / len(scores)


def vqa_form(answer: str) -> str:
    """Bring an answer to the form that VQA compares."""
    given = " ".join(answer.split())
    text = given.translate(_APOSTROPHES)
    is_number = _COMMA_IN_NUMBER.search(given) is not None
    for mark in _PUNCTUATION:
        is_loose = is_number or f"{mark} " in given or f" {mark}" in given
        text = text.replace(mark, "" if is_loose else " ")
    words = (_NUMBERS.get(word, word) for word in _PERIOD.sub("", text).lower().split())
    return " ".join(word for word in words if word not in _ARTICLES)


def _people(given: tuple[str, ...]) -> Sequence[str]:
    if len(given) != 1 or not given[0].startswith("["):
        return given
    try:
        answers = json.loads(given[0])
    except ValueError:
        return given
    if not answers or not all(isinstance(answer, str) for answer in answers):
        raise DataError(f"is no list of answers: {given[0][:60]}")
    return list(answers)
