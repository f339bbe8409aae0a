"""What a model was taught after training: texts by source, beside the model, and never in its tables.

Enters: texts.  Leaves: `Lessons`, and token sequences that `MultimodalLM.teach` counts with the training texts.
The model folder's weights stay as they were fitted; `lessons.json` beside them says what is counted on top when
the model is loaded.  So forgetting a source is leaving it out, and nothing can remain of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sensorium.core.commit import write_atomic
from sensorium.core.errors import ModelError, UsageError
from sensorium.core.names import nearest
from sensorium.core.vocabulary import BOS, EOS, UNK
from sensorium.data.tokenizers import Tokenizer
from sensorium.data.tokenizers.characters import Form, as_written

FILE = "lessons.json"
MOST_TIMES = 1_000_000
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Lesson:
    """Texts that were taught together.

    Attributes:
        source: the name to forget them by.
        texts: one sequence each.
        weight: how many times each counts, as if it had stood so often in the training data.
    """

    source: str
    texts: tuple[str, ...]
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Lessons:
    """All that a model is taught, in the order of teaching."""

    lessons: tuple[Lesson, ...] = ()

    def __iter__(self) -> Iterator[Lesson]:
        return iter(self.lessons)

    def __len__(self) -> int:
        return len(self.lessons)

    def new_source(self) -> str:
        """Return a name that is not taken: lesson-001, lesson-002, ..."""
        numbers = [int(m[1]) for lesson in self if (m := re.fullmatch(r"lesson-(\d+)", lesson.source))]
        return f"lesson-{max(numbers, default=0) + 1:03d}"

    def add(self, lesson: Lesson) -> Lessons:
        """Return these and one more.

        Raises:
            UsageError: its source is taken, it says nothing, or its weight is out of range.
        """
        if not lesson.source.strip() or any(lesson.source == other.source for other in self):
            advice = "forget it first, or name another source"
            raise UsageError(f"source '{lesson.source}' is taught already, or has no name", advice=advice)
        if not any(text.strip() for text in lesson.texts):
            raise UsageError("nothing to teach", where=lesson.source)
        if type(lesson.weight) is not int or not 1 <= lesson.weight <= MOST_TIMES:
            raise UsageError(
                f"a weight is a whole number of 1 to {MOST_TIMES:,}, not {lesson.weight}", where=lesson.source
            )
        texts = tuple(text for text in lesson.texts if text.strip())
        return Lessons((*self.lessons, replace(lesson, texts=texts)))

    def without(self, source: str) -> Lessons:
        """Return all others.  Raises UsageError: there is no such source."""
        if all(lesson.source != source for lesson in self):
            advice = nearest(source, [lesson.source for lesson in self])
            raise UsageError(f"nothing is taught as '{source}'", advice=advice)
        return Lessons(tuple(lesson for lesson in self if lesson.source != source))

    def sequences(self, tokenizer: Tokenizer, form: Form = as_written) -> list[tuple[list[int], int]]:
        """Return the token ids of every text in `form`, BOS to EOS, and how many times it counts.

        Raises:
            UsageError: a text has tokens outside the vocabulary.
        """
        return [
            ([BOS, *known_ids(tokenizer, form(text), lesson.source), EOS], lesson.weight)
            for lesson in self
            for text in lesson.texts
        ]


def known_ids(tokenizer: Tokenizer, text: str, where: str = "") -> list[int]:
    """Return the ids of a text that the vocabulary can write.

    Raises:
        UsageError: it cannot; the words are named.
    """
    ids = tokenizer.encode(text)
    if UNK not in ids:
        return ids
    words = [word for word in dict.fromkeys(text.split()) if UNK in tokenizer.encode(word)] or [text]
    named = ", ".join(f"'{word}'" for word in words[:_SHOWN]) + (", ..." if len(words) > _SHOWN else "")
    raise UsageError(
        f"the model's vocabulary ({tokenizer.name}) cannot write {named}",
        where=where,
        advice="a model with target.tokenizer = 'bpe' or 'character' spells new words",
    )


def read_lessons(folder: Path) -> Lessons:
    """Read a model folder's lessons; none if there is no such file.

    Raises:
        ModelError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return Lessons()
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["lessons"]
        return Lessons(tuple(_lesson(entry) for entry in entries))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        advice = "remove the file to go on with the model as it was trained"
        raise ModelError("does not say what was taught", where=str(path), advice=advice) from None


def write_lessons(lessons: Lessons, folder: Path) -> None:
    """Write them whole or not at all.  Raises DiskError."""
    write_atomic(folder / FILE, _as_bytes(lessons))


def lessons_beside(lessons: Mapping[str, Lessons]) -> dict[str, bytes]:
    """Return the files of a model folder that say what its tasks were taught, by task; "" is its only one."""
    taught = {name: one for name, one in lessons.items() if one}
    return {f"tasks/{name}/{FILE}" if name else FILE: _as_bytes(one) for name, one in taught.items()}


def kept_lessons(folder: Path) -> dict[str, bytes]:
    """Return such files of a model folder as they are, to be kept when the model in it is written anew."""
    paths = [folder / FILE, *folder.glob(f"tasks/*/{FILE}")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.exists()}


def _as_bytes(lessons: Lessons) -> bytes:
    text = json.dumps({"lessons": [asdict(lesson) for lesson in lessons]}, ensure_ascii=False, indent=1)
    return text.encode("utf-8")


def _lesson(entry: dict[str, Any]) -> Lesson:
    texts: Sequence[Any] = entry["texts"]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError
    return Lesson(str(entry["source"]), tuple(texts), int(entry["weight"]))
