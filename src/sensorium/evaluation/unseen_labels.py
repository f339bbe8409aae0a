"""Labels that training never had, and labels that only look alike: rows nobody can answer right, told by name.

Enters: the labels that a model knows, and the targets of rows.  Leaves: a sentence with counts and examples, or ''.
A model that chooses among known answers, or tags with known tags, cannot give another one; where a table says
`0.0`, `TRUE` or a decomposed letter for what training called `0`, `True` or the composed one, the figure is of the
table.  So it is where a model learned its labels from cells as they were read once: `true`, moments with a T.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

from sensorium.core.names import shown_form
from sensorium.core.text_file import fields
from sensorium.core.vocabulary import SPECIAL_TOKENS
from sensorium.data.tokenizers import Tokenizer
from sensorium.evaluation.comparable import comparable_by
from sensorium.tasks.task import Task

_SHOWN = 3
_CURE = "write each label in one way"
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:t| (?=00:00))(?:00:00:00(?:\.0+)?$)?")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?|[+-]?\.\d+")


class KnownLabels:
    """The labels that a model can give.

    Args:
        tokenizer: of the target.
        answers: that are chosen among; None for tags, of which the vocabulary holds all.
    """

    def __init__(self, tokenizer: Tokenizer, answers: Sequence[str] | None) -> None:
        self._comparable = comparable_by(tokenizer)
        self._parts: Callable[[str], list[str]] = fields if answers is None else _whole
        if answers is None:
            answers = [tokenizer.decode([number]) for number in range(len(SPECIAL_TOKENS), len(tokenizer.vocab))]
        self.names = set(map(self._comparable, answers))

    @classmethod
    def by(cls, task: Task, tokenizer: Tokenizer, answers: Sequence[str] | None) -> KnownLabels | None:
        """Return the labels of a task that has a known set of them, else None."""
        return cls(tokenizer, answers) if answers or task.tokenizer == "tag" else None

    def of(self, text: str) -> list[str]:
        """Return the labels in a target, in the form in which they are judged."""
        return self._parts(self._comparable(text))

    def unseen_note(self, texts: Iterable[str]) -> str:
        """Say how many of the rows with these targets have a label that training never had; '' where none has."""
        counts: Counter[str] = Counter()
        num_rows, num_unseen = 0, 0
        for text in texts:
            missing = set(self.of(text)) - self.names
            num_rows, num_unseen = num_rows + 1, num_unseen + bool(missing)
            counts.update(missing)
        if not counts:
            return ""
        alike = {_look(name): name for name in sorted(self.names, reverse=True)}
        told = [_told(label, count, alike.get(_look(label))) for label, count in _commonest(counts, alike)]
        more = f", and {len(counts) - len(told):,} more" if len(counts) > len(told) else ""
        cure = (
            f"; {_CURE}, in this table or where training reads it" if alike.keys() & set(map(_look, counts)) else ""
        )
        return (
            f"{num_unseen:,} of {num_rows:,} rows have a label that training never had and cannot be answered right"
            f": {', '.join(told)}{more}{cure}"
        )


def alike_note(counts: Mapping[str, int]) -> str:
    """Say which labels look alike and are different answers, by how many rows each has; '' where none do."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label in counts:
        groups[_look(label)].append(label)
    alike = sorted((sorted(labels, key=lambda label: -counts[label]) for labels in groups.values()), key=str)
    told = [
        " and ".join(f"{_quoted(label)} ({counts[label]:,})" for label in labels)
        for labels in alike
        if len(labels) > 1
    ]
    if not told:
        return ""
    more = f"; and {len(told) - _SHOWN:,} more" if len(told) > _SHOWN else ""
    return f"labels that look alike are different answers, by rows: {'; '.join(told[:_SHOWN])}{more}; {_CURE}"


def _whole(text: str) -> list[str]:
    return [text]


def _commonest(counts: Counter[str], alike: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return some labels: those that look like known ones first, then the commonest."""
    return sorted(counts.items(), key=lambda item: (_look(item[0]) not in alike, -item[1], item[0]))[:_SHOWN]


def _told(label: str, count: int, alike: str | None) -> str:
    beside = "" if alike is None else f"; training has {_quoted(alike)}"
    return f"{_quoted(label)} ({count:,}{beside})"


def _quoted(label: str) -> str:
    """Quote a label, by its signs where some cannot be seen or be told from others."""
    return f"'{label}'" if shown_form(label) == label else ascii(label)


def _look(label: str) -> str:
    """Return what labels that look alike share: visible signs in one case, the value of a number or moment."""
    seen = shown_form(label).casefold()
    if _NUMBER.fullmatch(seen):
        return str(Decimal(seen).normalize() + 0)
    return _MOMENT.sub(r"\1 ", seen, count=1).rstrip(" .") or seen
