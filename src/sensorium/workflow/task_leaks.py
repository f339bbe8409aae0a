"""What one task is judged on and another has learned from: tasks of one model divide their rows each for itself.

Enters: the prepared tasks of a run.  Leaves: a sentence for each task and part whose rows have media, or all their
texts, in common with rows that train another task; nothing is moved or left out.

Media are compared by content, whatever their files and inputs are called; texts of rows without media in the form
in which rows are grouped (`data/groups.py`).  What is only nearly the same is not looked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from sensorium.core.types import Media
from sensorium.data.corpus import Corpus
from sensorium.data.groups import normal_text
from sensorium.evaluation.answered import Advance
from sensorium.media.content import contents
from sensorium.media.policy import MediaPolicy
from sensorium.training.console import stage
from sensorium.workflow.leaks import items_of, with_leaks
from sensorium.workflow.prepare import Prepared, Say, quiet
from sensorium.workflow.tasks_config import TasksConfig

Thing = int | bytes
"""What rows have: a medium's number, or a digest of all texts of a row without media."""


def with_task_leaks(config: TasksConfig, tasks: Mapping[str, Prepared], say: Say = quiet) -> dict[str, Prepared]:
    """Add to the notes of prepared tasks what is known of their judged rows, by their own training or another's."""
    found = {name: with_leaks(config.tasks[name], task, say, f"{name} ") for name, task in tasks.items()}
    with stage(None, "comparing what tasks are judged on with what others learn", "steps") as advance:
        policy = next(iter(config.tasks.values())).media  # all tasks have one
        said = leaks_between({name: task.corpora for name, task in tasks.items()}, policy, advance)
    for name, sentences in said.items():
        for sentence in sentences:
            say(f"{name} warning: {sentence}")
        found[name] = replace(found[name], notes=(*found[name].notes, *sentences))
    return found


def leaks_between(
    tasks: Mapping[str, Mapping[str, Corpus]], policy: MediaPolicy | None = None, advance: Advance | None = None
) -> dict[str, list[str]]:
    """Say which judged rows of each task are known from the training rows of others, a sentence a part.

    Args:
        tasks: by name, the corpora by part; one part is called "train".
        advance: told how much of the media is read.
    """
    collected = _Collected()
    rows = {name: {part: collected.things(one) for part, one in parts.items()} for name, parts in tasks.items()}
    content_M = contents(list(collected.number_of), policy, advance).content_M.tolist()

    def known(things: list[Thing]) -> list[Thing]:
        return [content_M[thing] if isinstance(thing, int) else thing for thing in things]

    told = {name: {part: list(map(known, of)) for part, of in parts.items()} for name, parts in rows.items()}
    first_of = {name: _first_rows(parts["train"]) for name, parts in told.items()}
    found: dict[str, list[str]] = {}
    for name, parts in told.items():
        others = {other: first for other, first in first_of.items() if other != name}
        sentences = [
            _sentence(name, part, things, others, tasks) for part, things in parts.items() if part != "train"
        ]
        found[name] = [sentence for sentence in sentences if sentence]
    return found


def _first_rows(things_N: list[list[Thing]]) -> dict[Thing, int]:
    first: dict[Thing, int] = {}
    for row, things in enumerate(things_N):
        for thing in things:
            first.setdefault(thing, row)
    return first


def _sentence(
    name: str,
    part: str,
    things_N: list[list[Thing]],
    others: Mapping[str, Mapping[Thing, int]],
    tasks: Mapping[str, Mapping[str, Corpus]],
) -> str:
    """Say how many rows of a part train another task, which ones, and give an example; '' where none does."""
    hits = {
        row: trains
        for row, things in enumerate(things_N)
        if (trains := [(other, thing) for other, first in others.items() for thing in things if thing in first])
    }
    if not hits:
        return ""
    named = [f"'{other}'" for other in others if any(other == one for trains in hits.values() for one, _ in trains)]
    row, ((other, thing), *_) = next(iter(hits.items()))
    judged, learned = tasks[name][part], tasks[other]["train"]
    what = "media" if isinstance(thing, int) else "texts"
    places = f"{judged.where(row)} and {learned.where(others[other][thing])}"
    return (
        f"{part}: of {len(things_N):,} rows {len(hits):,} have {what} that train {' and '.join(named)}, so that "
        f"figures on them may be too good (such as {places}); divide all tasks by one 'split' column, or by tables"
    )


@dataclass
class _Collected:
    """The distinct media of all tasks, by number."""

    number_of: dict[Media, int] = field(default_factory=dict)

    def things(self, corpus: Corpus) -> list[list[Thing]]:
        """Return what each row has."""
        return [list(dict.fromkeys(self._of_row(corpus, row))) for row in range(corpus.num_rows)]

    def _of_row(self, corpus: Corpus, row: int) -> Iterator[Thing]:
        texts, has_media = [], False
        for name, value in sorted(corpus.sample(row).inputs.items()):
            for item in items_of(value):
                if isinstance(item, Media):
                    has_media = True
                    yield self.number_of.setdefault(item, len(self.number_of))
                elif item is not None and (text := normal_text(item)):
                    texts.append(f"{name}\0{text}")
        if texts and not has_media:
            yield hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).digest()
