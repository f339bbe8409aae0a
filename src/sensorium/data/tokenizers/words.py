"""Words, numbers and signs: how text is split into them, and how it is put together again.

Enters: composed text.  Leaves: tokens.  `split(join(tokens)) == tokens` for tokens that `split` made.

- Words keep inner apostrophes and hyphens (`o'clock`, `t-shirt`); English clitics are parted as in
  the Penn Treebank (`dog 's`, `do n't`), whether the text writes them apart or not.
- Numbers keep inner points, commas, colons and slashes, and a sign (`3,000.5`, `10:30`, `-5`).
- Scripts that write no blanks (Chinese, Japanese, Thai, Lao, Khmer, Burmese): one token a character
  with its marks.  Emoji sequences and flags are one token, every other sign is a token of its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

from sensorium.data.tokenizers.characters import composed

# Han with its repetition marks, kana, bopomofo, half-width kana; then Thai, Lao, Burmese, Khmer.
UNSPACED = (
    "\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff"
)
_JOINERS = "\u200c\u200d"
_EMOJI_MODIFIERS = "\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f\U000e0100-\U000e01ef"
_CLITICS = ("s", "re", "ve", "ll", "d", "m")
_LONGEST_CLITIC = 2

_OPENING = frozenset("([{¿¡“‘«‹$€£¥₹₩#@")
_CLOSING = frozenset(".,!?;:)]}”’»›%°…")
_TIGHT = frozenset("/「」『』《》〈〉【】〔〕（）［］｛｝、。，．！？；：")  # no blank on either side


def _ranges(points: Iterable[int]) -> str:
    """Write sorted code points as the inside of a character class."""
    runs: list[list[int]] = []
    for point in points:
        if runs and point == runs[-1][1] + 1:
            runs[-1][1] = point
        else:
            runs.append([point, point])
    return "".join(f"{re.escape(chr(low))}-{re.escape(chr(high))}" for low, high in runs)


@cache
def marks() -> str:
    """Return the inside of a character class: what follows a letter and belongs to it, joiners included."""
    # `re` knows no \p{M}, and combining marks are not in \w: Hindi and Tamil words need them.
    return _ranges(p for p in range(0x300, 0x1F000) if unicodedata.category(chr(p)).startswith("M")) + _JOINERS


@cache
def emoji() -> str:
    """Return a pattern of one picture sign: a flag, or a symbol with its modifiers, joined ones included."""
    # What Unicode calls "symbol, other", from the miscellaneous ones on: below it are (c) and box drawing.
    shown = _ranges(p for p in range(0x2600, 0x1FB00) if unicodedata.category(chr(p)) == "So")
    one = rf"[{shown}][{marks()}{_EMOJI_MODIFIERS}]*+"
    return rf"[\U0001f1e6-\U0001f1ff]{{2}}|{one}(?:(?<=\u200d){one})*+"


@cache
def _token_pattern() -> re.Pattern[str]:
    extend = rf"[{marks()}]"
    word = rf"(?:[^\W{UNSPACED}]++{extend}*+)++"
    clitic = "|".join(_CLITICS)
    sign = rf"[^\w\s][{marks()}{_EMOJI_MODIFIERS}]*+"
    return re.compile(
        rf"(?<!\w)[-+]?\d++(?:[.,:/]\d++)++|(?<!\w)[-+]\d++"  # 3,000.5  10:30  -5
        rf"|(?<!\w)(?:[A-Za-z]\.){{2,}}+(?!\w)"  # U.S.  p.m.
        rf"|{word}(?:['’-]{word})*+"
        rf"|['’](?i:{clitic})(?!['’\w])"  # the dog 's
        rf"|(?<=\s)['’]\s++(?i:{clitic})(?!\s*['’]|\w)"  # the dog ' s
        rf"|[{UNSPACED}]{extend}*+"
        rf"|[\U0001f1e6-\U0001f1ff]{{2}}"
        rf"|{sign}(?:(?<=\u200d){sign})*+"
    )


_UNSPACED_START = re.compile(f"[{UNSPACED}]")


def split(text: str) -> list[str]:
    """Split composed text into tokens; white space is dropped, ’ within words becomes '."""
    tokens: list[str] = _token_pattern().findall(text)
    if "'" not in text and "’" not in text:
        return tokens
    return [part for token in tokens for part in _part_clitics(token)]


def _part_clitics(token: str) -> list[str]:
    if len(token) == 1:
        return [token]
    token = "".join(token.replace("’", "'").split())
    parts: list[str] = []
    end = len(token)
    while (start := _clitic_start(token, end)) > 0:
        parts.append(token[start:end])
        end = start
    return [token[:end], *reversed(parts)]


def _clitic_start(token: str, end: int) -> int:
    """Return where the clitic that ends `token[:end]` starts; 0 or less if there is none."""
    apostrophe = token.rfind("'", 0, end)
    tail = token[apostrophe + 1 : end].lower() if end - apostrophe <= _LONGEST_CLITIC + 1 else ""
    if tail == "t" and token[apostrophe - 1] in "nN":
        return apostrophe - 1
    return apostrophe if tail in _CLITICS else -1


def _is_clitic(token: str) -> bool:
    return (token[0] == "'" and token[1:].lower() in _CLITICS) or token.lower() == "n't"


def join(tokens: Sequence[str]) -> str:
    """Write tokens as a reader expects them: no blank before a comma, none within Chinese, quotes paired.

    A blank is left out only where `split` would find the same tokens without it.
    """
    text: list[str] = []
    glued: list[str] = []  # tokens since the last blank
    quotes = _pair_quotes(tokens)
    for i, token in enumerate(tokens):
        if glued and (_wants_no_blank(glued[-1], token) or quotes.get(i - 1) == "open" or quotes.get(i) == "close"):
            glued = [*glued[-3:], token]
            if not _stays_apart(tuple(glued)):
                text.append(" ")
                glued = [token]
        else:
            text.append(" " if text else "")
            glued = [token]
        text.append(token)
    return "".join(text)


def _pair_quotes(tokens: Sequence[str]) -> dict[int, str]:
    """Say of each straight quote, by its place, whether it opens, closes or stands alone."""
    sides: dict[int, str] = {}
    for quote in ('"', "'"):
        places = [i for i, token in enumerate(tokens) if token == quote]
        if quote == "'":  # before "s" it keeps to its left: "dog ' s" would be read as "dog 's"
            sides.update(
                (i, "close") for i in places if tokens[i + 1 : i + 2] and tokens[i + 1].lower() in _CLITICS
            )
            places = [i for i in places if i not in sides]
        sides.update((place, "close" if n % 2 else "open") for n, place in enumerate(places))
        if len(places) % 2:
            sides[places[-1]] = _lone_quote(tokens, places[-1])
    return sides


def _lone_quote(tokens: Sequence[str], place: int) -> str:
    """Say of a quote without partner: it opens a text, closes a sentence, or is a plural's apostrophe."""
    if place == 0:
        return "open"
    before = tokens[place - 1]
    plural = tokens[place] == "'" and before[-1].isalpha()
    return "close" if plural or before in _CLOSING else "alone"


def _wants_no_blank(left: str, right: str) -> bool:
    if _UNSPACED_START.match(left[-1]) or _UNSPACED_START.match(right):
        return True
    if right in _CLOSING or left in _OPENING or _is_clitic(right):
        return True
    return left in _TIGHT or right in _TIGHT or (left == right and left in "—-")


@lru_cache(maxsize=65_536)
def _stays_apart(tokens: tuple[str, ...]) -> bool:
    return split(composed("".join(tokens))) == [part for token in tokens for part in split(token)]
