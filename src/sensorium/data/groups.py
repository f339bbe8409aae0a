"""Which rows belong together, because they share a medium or their whole text?

Enters: what the inputs of each row hold (`ties_of_table`, `ties_of_corpus`).  Leaves: `Ties`, and from it
`Grouping`s: a number a row, equal for rows that must not be parted when some are to be judged by what was learned
of others.

Rows that share a medium are connected, and so are those that are connected with them (union-find): the groups are
the connected components over all media of all inputs, every item of a list included.  A medium is its content: a
copy under another name is the same one, and some seconds of a recording are that recording (`media/content.py`).

A row without any medium is known by its texts, all of them together, normalised: rows of the very same texts are
one group.

Both hold as long as copies are the exception.  Where fewer than half of such rows have different texts, texts
repeat by nature (short questions, names, categories) and a new row will most likely have a known one, too: rows are
not tied by them.  Where fewer than a quarter of the files differ (drawn pictures, silence), media are known by
their place instead.

Where media tie so many rows together that nothing can be parted, there is a next best grouping: `groupings` begins
with the strictest one, goes on with each input by itself, and ends with every row alone.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import SensoriumError
from sensorium.core.types import Item, Media
from sensorium.data.corpus import Corpus
from sensorium.data.scan import InputSpec
from sensorium.data.table import Table
from sensorium.media.content import contents
from sensorium.media.policy import MediaPolicy

Ints = npt.NDArray[np.int64]

TEXTS = "(texts)"
"""How the tie by all of a row's texts is called; no input can be called so."""
_DIFFERENT_TEXTS = 0.5  # with fewer a row, texts repeat by nature
_DIFFERENT_FILES = 0.25  # with fewer contents a file, media do


class Links(NamedTuple):
    """Which rows have which contents: pairs of a row and the number of a content, the same one in all inputs."""

    row_E: Ints
    content_E: Ints


class Grouping(NamedTuple):
    """Groups of rows, and what ties them.

    Attributes:
        by: names of inputs, and `TEXTS`; empty where every row is a group by itself.
        group_N: (N,) the first row of each row's group.
    """

    by: tuple[str, ...]
    group_N: Ints

    @property
    def size_G(self) -> Ints:
        """Count the rows of each group, in the order of their first rows."""
        return np.unique(self.group_N, return_counts=True)[1]


@dataclass(frozen=True)
class Ties:
    """What ties N rows together, by name of an input or `TEXTS`."""

    num_rows: int
    links: Mapping[str, Links]

    def grouping(self, by: Sequence[str]) -> Grouping:
        """Group rows that are connected by what is named."""
        return Grouping(tuple(by), components(self.num_rows, (self.links[name] for name in by)))

    def groupings(self) -> Iterator[Grouping]:
        """Yield groupings, the strictest first; every row alone comes last."""
        names = list(self.links)
        if names:
            yield self.grouping(names)
        if len(names) > 1:
            yield from (self.grouping([name]) for name in names)
        yield self.grouping([])

    def parted(self, is_held_N: npt.NDArray[np.bool_]) -> dict[str, int]:
        """Count, by tie, the held rows that share a content with a row that is not held."""
        learned = [content_E[~is_held_N[row_E]] for row_E, content_E in self.links.values()]
        found = {}
        for name, (row_E, content_E) in self.links.items():
            shared_E = np.isin(content_E, np.concatenate(learned)) & is_held_N[row_E]
            found[name] = len(np.unique(row_E[shared_E]))
        return found


def components(num_rows: int, links: Iterable[Links]) -> Ints:
    """Return the first row of each row's connected component, (N,): union-find over shared contents."""
    parent = list(range(num_rows))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    first_row: dict[int, int] = {}
    for row_E, content_E in links:
        for row, content in zip(row_E.tolist(), content_E.tolist(), strict=True):
            one, other = root(row), root(first_row.setdefault(content, row))
            parent[max(one, other)] = min(one, other)
    return np.array([root(row) for row in range(num_rows)], np.int64)


def normal_text(text: str) -> str:
    """Return a text as it is compared: NFKC, case folded, single blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@dataclass
class TieCollector:
    """Collect what rows have, and tie them: `add` each row's items, then `ties`."""

    num_rows: int = 0
    _texts: list[bytes] = field(default_factory=list)
    """By row, a digest of its texts; empty where it has a medium, or no text."""
    _links: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)
    _number_of: dict[Media, int] = field(default_factory=dict)

    def add(self, items: Mapping[str, Sequence[Item]]) -> None:
        """Add the next row: what it has of each input."""
        texts, has_media = [], False
        for name, found in items.items():
            rows, numbers = self._links.setdefault(name, ([], []))
            for item in found:
                if isinstance(item, Media):
                    has_media = True
                    rows.append(self.num_rows)
                    numbers.append(self._number_of.setdefault(item, len(self._number_of)))
                elif item is not None:
                    texts.append(f"{name}\0{normal_text(item)}")
        is_known = texts and not has_media
        self._texts.append(hashlib.sha256("\0".join(texts).encode()).digest() if is_known else b"")
        self.num_rows += 1

    def ties(self, policy: MediaPolicy | None = None, advance: Callable[[int, int], None] | None = None) -> Ties:
        """Number all contents, and return what ties the rows; `advance` is told how much is read."""
        found = contents(list(self._number_of), policy, advance)
        num_contents, num_places = (len(np.unique(number_M)) for number_M in found)
        known_M = found.place_M if num_contents < _DIFFERENT_FILES * num_places else found.content_M
        links = {
            name: Links(np.array(rows, np.int64), known_M[np.array(numbers, np.int64)])
            for name, (rows, numbers) in self._links.items()
            if rows
        }
        texts = self._text_links()
        return Ties(self.num_rows, links if texts is None else {**links, TEXTS: texts})

    def _text_links(self) -> Links | None:
        """Tie rows without media by their texts; None where there are none, or texts repeat by nature."""
        number_of: dict[bytes, int] = {}
        pairs = [
            (row, -1 - number_of.setdefault(texts, len(number_of)))  # media have the numbers from 0 on
            for row, texts in enumerate(self._texts)
            if texts
        ]
        if len(number_of) in (0, len(pairs)) or len(number_of) < _DIFFERENT_TEXTS * len(pairs):
            return None
        return Links(*np.array(pairs, np.int64).T)


def ties_of_table(
    table: Table,
    row_N: Ints,
    inputs: Mapping[str, InputSpec],
    folder: Path,
    policy: MediaPolicy | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> Ties:
    """Return what ties the named rows of a table, numbered 0 to N - 1 as they are named.

    A cell that cannot be read is known by what stands in it; it is quarantined later.

    Raises:
        DataError: a column that the table lacks.
    """
    for spec in inputs.values():
        table.position(spec.column)
    collector = TieCollector()
    for number in row_N.tolist():
        cells = table.row(number)
        collector.add({name: _items(spec, cells[spec.column], folder) for name, spec in inputs.items()})
    return collector.ties(policy, advance)


def ties_of_corpus(
    corpus: Corpus, policy: MediaPolicy | None = None, advance: Callable[[int, int], None] | None = None
) -> Ties:
    """Return what ties the rows of a corpus, numbered as it numbers them."""
    collector = TieCollector()
    for i in range(corpus.num_rows):
        inputs = corpus.sample(i).inputs
        collector.add({name: found if isinstance(found, tuple) else (found,) for name, found in inputs.items()})
    return collector.ties(policy, advance)


def _items(spec: InputSpec, cell: str, folder: Path) -> Sequence[Item]:
    try:
        return spec.items(cell, folder)
    except SensoriumError:
        return [cell]
