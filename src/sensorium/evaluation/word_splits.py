"""How a text becomes words before it is judged, by name; every result names the one it was made with.

Enters: a text.  Leaves: its words.

    captions    lower case, no punctuation; one word a Chinese or Japanese character
    blanks      parted at white space, as it stands (sacrebleu's "none", jiwer)
    13a         NIST mteval-v13a: punctuation becomes words, case stays (sacrebleu's default)
"""

from __future__ import annotations

import re
from collections.abc import Callable

Split = Callable[[str], list[str]]


def caption_words(text: str) -> list[str]:
    """Split as captions are compared: lower case, no punctuation, one word a Chinese or Japanese character.

    Follows COCO's captioning evaluation (Chen et al. 2015, arXiv 1504.00325), without its Java tokenizer;
    "t-shirt" and "it's" stay whole.
    """
    return _WORD.findall(text.lower())


_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+(?:['’-][^\W_{_HAN}]+)*")


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
