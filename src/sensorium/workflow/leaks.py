"""What training has of the rows that are judged, and what it lacks.

Equal and nearly equal texts, pictures and sounds stand in several parts; labels stand in the judged ones alone.

Enters: the corpora of a run, by part.  Leaves: a sentence for each part and input that has such rows, with counts
and an example; nothing is moved or left out.  A figure on rows that training has seen is too good, and whoever
reads it must know.

A row without media is compared by all its texts, or by its target where it has no input.  Of media all are compared
by content, and some of them by what they look and sound like: as many as `MOST_MEDIA` and `MOST_SECONDS` allow.
Clips are compared by content alone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sensorium.core.types import Item, Items, Media
from sensorium.data.corpus import Corpus
from sensorium.data.fingerprints import MOST, all_bits
from sensorium.data.near_duplicates import Known, known_bits, known_texts
from sensorium.evaluation.answered import Advance
from sensorium.evaluation.unseen_labels import KnownLabels, alike_note
from sensorium.media.content import contents
from sensorium.media.policy import MediaPolicy
from sensorium.training.console import stage
from sensorium.workflow.config import RunConfig
from sensorium.workflow.prepare import Prepared, Say, quiet

Ints = npt.NDArray[np.int64]

MOST_TEXTS = 200_000
MOST_MEDIA = 2_000
MOST_SECONDS = 2.0
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class _Things:
    """What rows have that is compared, the first row of each, and how many rows have it."""

    row_K: list[int]
    count_K: list[int]

    def rows(self, is_known_K: npt.NDArray[np.bool_]) -> int:
        return int(np.array(self.count_K, np.int64)[is_known_K].sum())


def with_leaks(config: RunConfig, prepared: Prepared, say: Say = quiet, label: str = "") -> Prepared:
    """Add to a prepared run's notes what is known of its judged rows already, and what can never be answered.

    Each sentence is said after `label`.
    """
    modalities = {name: choice.section.modality for name, choice in config.model.read_inputs.items()}
    found = [*leaks(prepared.corpora, modalities, config.media), *_of_labels(prepared)]
    for sentence in found:
        say(f"{label}warning: {sentence}")
    return replace(prepared, notes=(*prepared.notes, *found))


def leaks(corpora: Mapping[str, Corpus], modalities: Mapping[str, str], policy: MediaPolicy) -> list[str]:
    """Say which rows of each part are known from the training rows, a sentence a part and kind.

    Args:
        corpora: by part; one is called "train".
        modalities: of the inputs, by name.
    """
    train = corpora["train"]
    found = []
    for part, corpus in corpora.items():
        if part != "train":
            with stage(None, f"{part}: comparing texts with those of training", "texts") as advance:
                found.append(_text_leak(part, corpus, train, advance))
            for name, modality in modalities.items():
                with stage(None, f"{part}: comparing {name} with that of training", "steps") as advance:
                    found.append(_media_leak(part, name, corpus, train, modality, policy, advance))
    return [sentence for sentence in found if sentence]


def _of_labels(prepared: Prepared) -> list[str]:
    """Say which labels look alike in training, and which of the judged ones it never had."""
    labels = KnownLabels.by(prepared.task, prepared.model.tokenizer, prepared.answers)
    if labels is None:
        return []
    notes = {
        part: alike_note(Counter(label for text in _targets(corpus) for label in labels.of(text)))
        if part == "train"
        else labels.unseen_note(_targets(corpus))
        for part, corpus in prepared.corpora.items()
    }
    return [f"{part}: {note}" for part, note in notes.items() if note]


def _targets(corpus: Corpus) -> Iterator[str]:
    return map(corpus.target_text, range(corpus.num_rows))


def _text_leak(part: str, corpus: Corpus, train: Corpus, advance: Advance) -> str:
    held, held_things, num_held = _texts(corpus)
    learned, learned_things, num_learned = _texts(train)
    known = known_texts(held, learned, advance)
    counts = _Counts.of(known, held_things, corpus.num_rows, known.near_H)
    looked = _looked_at(len(held), num_held, len(learned), num_learned)
    return counts.sentence(part, "texts", (corpus, train), (held_things, learned_things), held, looked)


def _media_leak(
    part: str,
    name: str,
    corpus: Corpus,
    train: Corpus,
    modality: str,
    policy: MediaPolicy,
    advance: Advance,
) -> str:
    held, held_things = _media(corpus, name)
    learned, learned_things = _media(train, name)
    number_M = contents([*held, *learned], policy, advance).content_M
    place_of = {number: place for place, number in reversed(list(enumerate(number_M[len(held) :].tolist())))}
    exact_H = np.array([place_of.get(number, -1) for number in number_M[: len(held)].tolist()], np.int64)
    near_H, looked = np.full(len(held), -1), ""
    if modality in MOST:
        held_HB, learned_LB = _bits(held, modality, policy, advance), _bits(learned, modality, policy, advance)
        near_H[: len(held_HB)] = known_bits(held_HB, learned_LB, MOST[modality])
        near_H[exact_H >= 0] = -1
        looked = _looked_at(len(held_HB), len(held), len(learned_LB), len(learned))
    counts = _Counts.of(Known(exact_H, near_H), held_things, corpus.num_rows, near_H)
    shown = [str(medium) for medium in held]
    return counts.sentence(part, f"'{name}'", (corpus, train), (held_things, learned_things), shown, looked)


@dataclass(frozen=True)
class _Counts:
    """How many rows are known, and of them an example: places among what was held and learned."""

    num_exact: int
    num_near: int
    num_rows: int
    example: tuple[int, int]

    @classmethod
    def of(cls, known: Known, things: _Things, num_rows: int, near_H: Ints) -> _Counts:
        is_exact_H, is_near_H = known.exact_H >= 0, near_H >= 0
        place_H = np.where(is_exact_H, known.exact_H, near_H)
        first = int(np.argmax(is_exact_H if is_exact_H.any() else is_near_H)) if len(place_H) else 0
        example = (first, int(place_H[first])) if len(place_H) else (0, -1)
        return cls(things.rows(is_exact_H), things.rows(is_near_H), num_rows, example)

    def sentence(
        self,
        part: str,
        what: str,
        corpora: tuple[Corpus, Corpus],
        things: tuple[_Things, _Things],
        shown: Sequence[str],
        looked: str,
    ) -> str:
        """Say it; where nothing is known, only that not all was compared, or nothing."""
        counted = [f"{self.num_exact:,} have the very {what}"] if self.num_exact else []
        counted += [f"{self.num_near:,} have nearly the {what}"] if self.num_near else []
        if not counted:
            found = f"{part}: no rows with nearly the {what} of training rows were found{looked}"
            return found if looked else ""
        text = shown[self.example[0]]
        if len(text) > _SHOWN_CHARACTERS:
            text = f"{text[:_SHOWN_CHARACTERS]}…"
        places = " and ".join(
            corpus.where(one.row_K[place]) for corpus, one, place in zip(corpora, things, self.example, strict=True)
        )
        return (
            f"{part}: of {self.num_rows:,} rows {' and '.join(counted)} of training rows, so that figures on them "
            f"are too good (such as {places}: {text}){looked}"
        )


def _texts(corpus: Corpus) -> tuple[list[str], _Things, int]:
    """Return the distinct texts of rows without media, up to MOST_TEXTS of them, and how many there are."""
    places: dict[str, int] = {}
    things = _Things([], [])
    num_texts = 0
    for row in range(corpus.num_rows):
        inputs = corpus.sample(row).inputs
        found = [item for value in inputs.values() for item in items_of(value)]
        if any(isinstance(item, Media) for item in found):
            continue
        text = " ‖ ".join(str(item) for item in found) if inputs else corpus.target_text(row)
        if not text.strip():
            continue
        if text in places:
            things.count_K[places[text]] += 1
            continue
        num_texts += 1
        if len(places) < MOST_TEXTS:
            places[text] = len(places)
            things.row_K.append(row)
            things.count_K.append(1)
    return list(places), things, num_texts


def _media(corpus: Corpus, name: str) -> tuple[list[Media], _Things]:
    """Return the distinct media that rows have of an input."""
    places: dict[Media, int] = {}
    things = _Things([], [])
    for row in range(corpus.num_rows):
        for item in items_of(corpus.sample(row).inputs.get(name)):
            if not isinstance(item, Media):
                continue
            place = places.setdefault(item, len(places))
            if place == len(things.row_K):
                things.row_K.append(row)
                things.count_K.append(0)
            things.count_K[place] += 1
    return list(places), things


def items_of(value: Item | Items) -> Items:
    """Return what a row has of an input as so many items, none where it has nothing."""
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _bits(media: Sequence[Media], modality: str, policy: MediaPolicy, advance: Advance) -> npt.NDArray[np.uint8]:
    """Return the fingerprints of the first media, as many as the budget allows."""
    found, started = [all_bits([], modality, policy)], time.monotonic()
    for number, medium in enumerate(media[:MOST_MEDIA], start=1):
        if time.monotonic() - started > MOST_SECONDS:
            break
        found.append(all_bits([medium], modality, policy))
        advance(number, min(len(media), MOST_MEDIA))
    return np.concatenate(found)


def _looked_at(held: int, all_held: int, learned: int, all_learned: int) -> str:
    if held == all_held and learned == all_learned:
        return ""
    return f"; looked at {held:,} of {all_held:,} of them, and at {learned:,} of {all_learned:,} of training"
