"""Sparse features of tokens in their sentence, as hand-made taggers use them.

Enters: a text of tokens parted by blanks or tabs, each of one factor or more joined by '￨' ('He￨PRP').
Leaves: (T, F) ids, one feature a template; 0 = a feature that training never showed.

A template is terms joined by '|'; a term is FACTOR[OFFSET] or FACTOR.VIEW[OFFSET]:

    0[0]                the token itself                  1[-1]|1[0]       the tags before and here, together
    0.lower[0]          in lower case                     0.shape[0]       'Xx', 'd-x', ...
    0.prefix3[0]        its first three letters           0.suffix2[1]     the last two of the next token

Source: the templates of CRFsuite's chunking example (Okazaki 2007), after Sha and Pereira 2003, table 1.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sensorium.core.errors import ConfigError, DataError, ModelError
from sensorium.core.text_file import fields
from sensorium.core.types import Item
from sensorium.data.hiding import HiddenTokens
from sensorium.data.preparation import fingerprint_of
from sensorium.data.readers_conll import JOINER

FILE = "features.txt"
UNSEEN = 0

WORD_WINDOW = ("0[-2]", "0[-1]", "0[0]", "0[1]", "0[2]", "0[-1]|0[0]", "0[0]|0[1]")
"""CRFsuite's templates over words."""
TAG_WINDOW = (
    *("1[-2]", "1[-1]", "1[0]", "1[1]", "1[2]"),
    *("1[-2]|1[-1]", "1[-1]|1[0]", "1[0]|1[1]", "1[1]|1[2]"),
    *("1[-2]|1[-1]|1[0]", "1[-1]|1[0]|1[1]", "1[0]|1[1]|1[2]"),
)
"""CRFsuite's templates over parts of speech."""

_TERM = re.compile(r"(\d+)(?:\.(lower|shape|(prefix|suffix)(\d+)))?\[([+-]?\d+)\]")
View = Callable[[str], str]


class Term(NamedTuple):
    """One factor of the token at an offset, seen in one way."""

    factor: int
    view_name: str
    view: View
    offset: int


def parse_template(template: str) -> tuple[Term, ...]:
    """Read a template.  Raises ConfigError: not of the grammar above."""
    terms = []
    for text in template.split("|"):
        match = _TERM.fullmatch(text.strip())
        if match is None:
            raise ConfigError(
                f"'{text}' is no term of a template", advice="write FACTOR[OFFSET], such as 0[-1] or 0.suffix3[0]"
            )
        factor, name, side, size, offset = match.groups()
        terms.append(Term(int(factor), name or "", _view(name, side, size), int(offset)))
    return tuple(terms)


def _view(name: str | None, side: str | None, size: str | None) -> View:
    if side is not None:
        return functools.partial(_prefix if side == "prefix" else _suffix, int(size or 1))
    return {"lower": str.lower, "shape": shape}.get(name or "", str)


def _prefix(size: int, text: str) -> str:
    return text[:size]


def _suffix(size: int, text: str) -> str:
    return text[-size:]


def shape(text: str) -> str:
    """Return the form of a word: 'X' a capital, 'x' a small letter, 'd' a digit; runs written once."""
    return re.sub(r"(.)\1+", r"\1", "".join(map(_letter_kind, text)))


def _letter_kind(letter: str) -> str:
    if letter.isdigit():
        return "d"
    if letter.isalpha():
        return "X" if letter.isupper() else "x"
    return letter


class TokenFeaturesPreparer:
    """Turn a text of tokens into the ids of its features.

    Args:
        templates: the features of each token.
        min_count: how often training must show a feature.
        max_tokens: the most tokens of a text; longer ones keep their beginning and are counted.

    Attributes:
        truncated: texts cut so far, in this process.
        unknown: features without an id so far, in this process.
        num_left_out: features of training that were too rare.
    """

    modality = "text"
    hiding = HiddenTokens(unknown=UNSEEN)

    def __init__(self, templates: Sequence[str], *, min_count: int = 1, max_tokens: int = 256) -> None:
        self.templates = tuple(templates)
        self.min_count = min_count
        self.max_tokens = max_tokens
        self.truncated = 0
        self.unknown = 0
        self.num_left_out = 0
        self._parsed = [parse_template(template) for template in self.templates]
        self._id_of: dict[str, int] | None = None

    @property
    def num_features(self) -> int:
        """Count the ids, UNSEEN among them.  Raises ModelError before `fit` or `load`."""
        return len(self._ids()) + 1

    @property
    def features(self) -> list[str]:
        """Return the features by id, from 1: template and values.  Raises ModelError before `fit` or `load`."""
        return list(self._ids())

    def item(self, cell: str, folder: Path) -> Item:
        """Return the text as it is; None where it is blank."""
        return cell if cell.strip() else None

    def fit(self, items: Iterable[Item]) -> Self:
        """Number the features of the training texts, the commonest first.

        Raises:
            DataError: an item is not text, its tokens lack a factor, or there is none.
        """
        counts: Counter[str] = Counter()
        for item in items:
            if item is not None:
                for column in self._columns(fields(_text(item))):
                    counts.update(column)
        if not counts:
            raise DataError("there is no token to take features of", advice="check the column's name and cells")
        kept = [feature for feature, count in counts.items() if count >= self.min_count]
        self.num_left_out = len(counts) - len(kept)
        kept.sort(key=lambda feature: (-counts[feature], feature))
        self._id_of = {feature: i for i, feature in enumerate(kept, start=1)}
        return self

    def __call__(self, item: Item) -> Tensor:
        """Return ids, int32 (T, F).  Raises DataError."""
        find = self._ids().get
        ids_FT = [[find(feature, UNSEEN) for feature in column] for column in self._columns(fields(_text(item)))]
        id_TF = torch.tensor(ids_FT, dtype=torch.int32).t().contiguous()
        if len(id_TF) > self.max_tokens:  # the last ones kept still see what follows them
            self.truncated += 1
            id_TF = id_TF[: self.max_tokens].clone()
        self.unknown += int((id_TF == UNSEEN).sum())
        return id_TF

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of a text, cut as its values are."""
        return fields(text)[: self.max_tokens]

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Pad to (U, T, F) with UNSEEN; mask (U, T) bool."""
        if not values:
            return torch.zeros(0, 0, len(self.templates), dtype=torch.int32), torch.zeros(0, 0, dtype=torch.bool)
        length_U = torch.tensor([len(value) for value in values])
        mask_UT = torch.arange(int(length_U.max())) < length_U[:, None]
        return pad_sequence(list(values), batch_first=True, padding_value=UNSEEN), mask_UT

    @property
    def fingerprint(self) -> str:
        """Name this preparation: templates, settings and features.  Raises ModelError before `fit`."""
        digest = hashlib.sha256("\n".join(self._ids()).encode()).hexdigest()[:16]
        return fingerprint_of(
            "token_features.1",
            templates=" ".join(self.templates),
            min_count=self.min_count,
            max_tokens=self.max_tokens,
            features=digest,
        )

    def save(self, folder: Path) -> None:
        """Write the features into `folder`, one a line."""
        (folder / FILE).write_text("".join(f"{feature}\n" for feature in self._ids()), encoding="utf-8")

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.  Raises ModelError."""
        path = folder / FILE
        try:
            features = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"holds no readable features: {error}", where=str(path)) from None
        self._id_of = {feature: i for i, feature in enumerate(features[:-1], start=1)}
        if len(self._id_of) != len(features) - 1:
            raise ModelError("names a feature twice", where=str(path))
        return self

    def _ids(self) -> dict[str, int]:
        if self._id_of is None:
            raise ModelError(
                "these token features are not fitted yet", advice="fit them on texts, or load saved ones"
            )
        return self._id_of

    def _columns(self, tokens: Sequence[str]) -> list[list[str]]:
        """Return, for each template, every token's feature: the template's number, then the values."""
        factors = [token.split(JOINER) for token in tokens]
        values: dict[tuple[int, str], list[str]] = {}
        shifted: dict[tuple[int, str, int], list[str]] = {}
        for term in (term for terms in self._parsed for term in terms):
            kind, place = (term.factor, term.view_name), (term.factor, term.view_name, term.offset)
            if kind not in values:
                values[kind] = _column(tokens, factors, term)
            if place not in shifted:
                shifted[place] = _shifted(values[kind], term.offset)
        found = []
        for number, terms in enumerate(self._parsed):
            columns = [shifted[term.factor, term.view_name, term.offset] for term in terms]
            joined = columns[0] if len(columns) == 1 else map(JOINER.join, zip(*columns, strict=True))
            found.append([f"{number}:{value}" for value in joined])
        return found


def _shifted(values: list[str], offset: int) -> list[str]:
    """Return what stands `offset` further on; outside the sentence, how far outside."""
    last = len(values)
    if offset < 0:
        before = [f"<{at}>" for at in range(offset, 0)]
        return [*before, *values][:last]
    after = [f"<+{at}>" for at in range(1, offset + 1)]
    return [*values[offset:], *after[max(0, offset - last) :]]


def _column(tokens: Sequence[str], factors: Sequence[Sequence[str]], term: Term) -> list[str]:
    for token, parts in zip(tokens, factors, strict=True):
        if len(parts) <= term.factor:
            raise DataError(
                f"token '{token}' has {len(parts)} factors, a template reads number {term.factor}",
                advice=f"write each token as 'word{JOINER}tag'",
            )
    return [term.view(parts[term.factor]) for parts in factors]


def _text(item: Item) -> str:
    if not isinstance(item, str):
        raise DataError(f"a text input holds text, not {type(item).__name__}")
    return item
