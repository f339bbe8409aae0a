"""Lists that another program wrote into a cell as text: a CSV file knows none, so pandas writes what Python shows.

    ['B-PER', 'O']          of Python's lists and tuples       ["B-PER", "O"]        as JSON
    ['B-PER' 'O']           of NumPy's arrays                  [np.str_('B-PER')]    of NumPy's values in a list

Enters: a cell.  Leaves: its items, None where it is some other text.
Which columns hold such lists is told from all their cells (`Written`): a text that begins with a bracket is a text.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_STRING = r"'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\""
_VALUE = rf"(?:{_STRING}|[-+]?\d[\d.]*+(?:[eE][-+]?\d++)?|None|null|NaN|nan|[Tt]rue|[Ff]alse)"
_ITEM = rf"(?:{_VALUE}|np\.\w++\({_VALUE}\))"
_COMMAS = re.compile(rf"[\[(]\s*+(?:{_ITEM}(?:\s*+,\s*+{_ITEM})*+\s*+,?\s*+)?[\])]", re.DOTALL)
_BLANKS = re.compile(rf"\[\s*+{_ITEM}(?:\s++{_ITEM})*+\s*+\]", re.DOTALL)
_ONE = re.compile(_VALUE, re.DOTALL)
_WORDS = {
    "None": None,
    "null": None,
    "NaN": None,
    "nan": None,
    "true": True,
    "True": True,
    "false": False,
    "False": False,
}


def written_list(cell: str) -> list[Any] | None:
    """Return the items of a list that `cell` writes; None: it is no list of texts, numbers and truth values."""
    text = cell.strip()
    if not text or text[0] + text[-1] not in ("[]", "()"):
        return None
    if not _COMMAS.fullmatch(text) and not _BLANKS.fullmatch(text):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return [_value(one) for one in _ONE.findall(re.sub(r"np\.\w++\(", "(", text) if "np." in text else text)]
    return found if isinstance(found, list) else None


def lists_texts(items: list[Any]) -> bool:
    """Say whether a list has texts; one of numbers alone is as likely a text: '[1]', '(555)'."""
    return any(isinstance(item, str) for item in items)


def _value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):  # such as 007
        return text.strip("'\"")


class Written:
    """Which columns of a table write lists: those all of whose filled cells do."""

    def __init__(self) -> None:
        self._has_texts: dict[str, bool] = {}
        self._others: set[str] = set()

    def see(self, cells: Mapping[str, str]) -> None:
        """Look at a row's cells."""
        for name, cell in cells.items():
            if name in self._others or not cell or cell.isspace():
                continue
            items = written_list(cell)
            if items is None:
                self._others.add(name)
            else:
                self._has_texts[name] = self._has_texts.get(name, False) or lists_texts(items)

    def columns(self) -> Iterator[tuple[str, bool]]:
        """Yield the columns, and whether there are texts in their lists."""
        return ((name, has_texts) for name, has_texts in self._has_texts.items() if name not in self._others)
