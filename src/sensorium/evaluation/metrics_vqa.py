"""VQA accuracy: an answer is as right as people gave it.

Enters: predicted answers, and for each question the answers of its (ten) people, as a list or as the JSON text of
one (column `answers` of `vqa:` tables).  Leaves: the mean over questions, 0..1.

    acc(a) = mean over people of min(1, |others who said a| / 3)

Both sides are brought to one form first: case, punctuation, articles, number words, contractions.
Source: Antol et al. 2015, "VQA" (arXiv 1505.00468), section 2; the form is that of its evaluation code
(GT-Vision-Lab/VQA, `vqaEval.py`), whose list of contractions comes to: an apostrophe that was left out is put in.
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
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_CONTRACTED = (
    "aren't can't couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's I'd've I'm I've "
    "isn't it'd it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't shan't "
    "she'd've should've shouldn't somebody'd somebody'll somebody's someone'd someone'll someone's something'd "
    "something'll that'd that's there'd there're there's they'd they'll they're they've 'twas wasn't we'd've we've "
    "weren't what'll what're what's what've when's where'd where's where've who'd who'll who's who've why'll why're "
    "why's won't would've wouldn't y'all you'd you'll you're you've"
).split()
_CONTRACTIONS = {word.replace("'", "").lower(): word for word in _CONTRACTED}
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
        others = len(answers) - same
        # Who said it has one fewer other who did; where there is one person alone, he decides.
        parts = same * min(1.0, (same - 1) / ENOUGH) + others * min(1.0, same / ENOUGH)
        scores.append(parts / len(answers) if len(answers) > 1 else float(same))
    return sum(scores) / len(scores)


def vqa_form(answer: str) -> str:
    """Bring an answer to the form that VQA compares."""
    text = " ".join(answer.replace("\n", " ").replace("\t", " ").split())
    keep_glued = _COMMA_IN_NUMBER.search(text) is not None
    for mark in _PUNCTUATION:
        glued = keep_glued or f"{mark} " in text or f" {mark}" in text
        text = text.replace(mark, "" if glued else " ")
    words = (_NUMBERS.get(word, word) for word in _PERIOD.sub("", text).lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


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
