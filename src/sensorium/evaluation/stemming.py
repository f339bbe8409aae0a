"""Porter's stemmer: English words to stems, so that "dogs" meets "dog" and "running" meets "runs".

Enters: a word.  Leaves: its stem, lower case.
Sources: Porter 1980, "An algorithm for suffix stripping"; with the changes that nltk's `PorterStemmer` makes by
default (irregular words, "ties" -> "tie", "fly" -> "fli"), whose stems these are.

C: a run of consonants, V: a run of vowels; m, the measure of a stem [C](VC)^m[V], counts the VCs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

_IRREGULAR = {
    "sky": "sky", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news",
    "innings": "inning", "inning": "inning", "outings": "outing", "outing": "outing", "cannings": "canning",
    "canning": "canning", "howe": "howe", "proceed": "proceed", "exceed": "exceed", "succeed": "succeed",
}  # fmt: skip

Rule = tuple[str, str]


@functools.lru_cache(maxsize=1 << 17)
def stem(word: str) -> str:
    """Return the stem of a word."""
    word = word.lower()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 2:
        return word
    for step in (_plural, _past, _final_y, _double_suffix, _suffix, _bare_suffix, _final_e, _double_l):
        word = step(word)
    return word


def _shape(word: str) -> str:
    """Write c for each consonant and v for each vowel; y is a vowel after a consonant."""
    shape = ""
    for letter in word:
        is_vowel = letter in "aeiou" or (letter == "y" and shape[-1:] == "c")
        shape += "v" if is_vowel else "c"
    return shape


def _measure(word: str) -> int:
    return _shape(word).count("vc")


def _ends_cvc(word: str) -> bool:
    """Say whether the word ends consonant, vowel, consonant (not w, x, y), or is vowel and consonant."""
    shape = _shape(word)
    return (shape.endswith("cvc") and word[-1] not in "wxy") or shape == "vc"


def _replaced(word: str, rules: Sequence[Rule], holds: Callable[[str], bool]) -> str:
    """Apply the first rule whose suffix the word has, if what is before the suffix allows it."""
    for suffix, replacement in rules:
        if word.endswith(suffix):
            rest = word[: len(word) - len(suffix)]
            return rest + replacement if holds(rest) else word
    return word


def _plural(word: str) -> str:
    if word.endswith("ies") and len(word) == 4:
        return word[:-1]
    return _replaced(word, (("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")), lambda _: True)


def _past(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        rest = word.removesuffix(suffix)
        if rest != word and "v" in _shape(rest):
            return _mended(rest)
    return word


def _mended(word: str) -> str:
    """Give back what -ed and -ing took away: conflat -> conflate, hopp -> hop, fil -> file."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if len(word) > 1 and word[-1] == word[-2] and _shape(word)[-1] == "c":
        return word if word[-1] in "lsz" else word[:-1]
    return word + "e" if _measure(word) == 1 and _ends_cvc(word) else word


def _final_y(word: str) -> str:
    return _replaced(word, (("y", "i"),), lambda rest: len(rest) > 1 and _shape(rest)[-1] == "c")


_DOUBLE = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble"),
    ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"),
    ("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"),
    ("iviti", "ive"), ("biliti", "ble"), ("fulli", "ful"),
)  # fmt: skip


def _double_suffix(word: str) -> str:
    if word.endswith("alli") and _measure(word[:-4]) > 0:
        return _double_suffix(word[:-2])
    if word.endswith("logi") and _measure(word[:-3]) > 0:
        return word[:-1]
    return _replaced(word, _DOUBLE, lambda rest: _measure(rest) > 0)


def _suffix(word: str) -> str:
    rules = (
        ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", ""),
    )  # fmt: skip
    return _replaced(word, rules, lambda rest: _measure(rest) > 0)


_BARE = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate",
    "iti", "ous", "ive", "ize",
)  # fmt: skip


def _bare_suffix(word: str) -> str:
    def goes(rest: str) -> bool:
        return _measure(rest) > 1 and (not word.endswith("ion") or rest[-1] in "st")

    return _replaced(word, [(suffix, "") for suffix in _BARE], goes)


def _final_e(word: str) -> str:
    def goes(rest: str) -> bool:
        return _measure(rest) > 1 or (_measure(rest) == 1 and not _ends_cvc(rest))

    return _replaced(word, (("e", ""),), goes)


def _double_l(word: str) -> str:
    return _replaced(word, (("ll", "l"),), lambda _: _measure(word[:-1]) > 1)
