"""How a text becomes words before it is judged, by name; every result names the one it was made with.

Enters: a text.  Leaves: its words.

    captions    lower case, no punctuation; one word a character where a script writes no blanks (Chinese, Thai)
    blanks      parted at white space, as it stands (sacrebleu's "none", jiwer)
    13a         NIST mteval-v13a: punctuation becomes words, case stays (sacrebleu's default)

BLEU over the last two is smoothed as sacrebleu's is (`AS_SACREBLEU`); over caption words it is not, as COCO's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from sensorium.data.tokenizers.characters import composed, lowered
from sensorium.data.tokenizers.words import UNSPACED, emoji, marks

Split = Callable[[str], list[str]]


def caption_words(text: str) -> list[str]:
    """Split as captions are compared: lower case, no punctuation; a word keeps the marks of its letters.

    Follows COCO's captioning evaluation (Chen et al. 2015, arXiv 1504.00325), without its Java tokenizer;
    "t-shirt" and "it's" stay whole.  What counts as a letter, and which scripts write no blanks, is as in
    `data.tokenizers.words`; a picture sign (emoji) is a word.
    """
    return _caption_word().findall(lowered(composed(text)))


@cache
def _caption_word() -> re.Pattern[str]:
    word = rf"(?:[^\W_{UNSPACED}][{marks()}]*+)++"
    return re.compile(rf"[{UNSPACED}][{marks()}]*+|{word}(?:['’-]{word})*+|{emoji()}")


def mteval_words(text: str) -> list[str]:
    """Split as mteval-v13a does, and sacrebleu after it: symbols apart, periods and commas not within numbers."""
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for escaped, letter in _ESCAPED:
        text = text.replace(escaped, letter)
    text = f" {text} "
    for pattern, parted in _MTEVAL:
        text = pattern.sub(parted, text)
    return text.split()


_ESCAPED = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_MTEVAL = (
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)

SPLITS: dict[str, Split] = {"captions": caption_words, "blanks": str.split, "13a": mteval_words}
AS_SACREBLEU = frozenset({"blanks", "13a"})
"""Ways to split that are sacrebleu's, whose BLEU is then what is asked for."""
