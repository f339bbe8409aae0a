"""The `[decoding]` section of a config, and what it builds.

Enters: plain settings.  Leaves: a Decoder: search, filters and length limit in one callable.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Self, cast

from pydantic import Field, model_validator

from sensorium.core.config import Section
from sensorium.core.protocols import Scorer
from sensorium.core.registry import load
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import UNK
from sensorium.decoding.allowed import AllowedSequences
from sensorium.decoding.consensus import Consensus
from sensorium.decoding.filters import Filter, ForbiddenTokens, MinLength, NoRepeatNgram, RepetitionPenalty
from sensorium.decoding.generate import generate
from sensorium.decoding.generated import Generated
from sensorium.decoding.registry import ENTRY_POINTS, SEARCHES
from sensorium.decoding.search import Search

_READ_BY = {
    "sample": ("temperature", "top_k", "top_p", "seed"),
    "beam": ("beam_width", "length_penalty", "n_best", "early_stopping"),
}


class CTCDecoding(Section):
    """`[decoding.ctc]`: how transcripts are searched for where CTC spells them."""

    width: int = Field(100, ge=1, description="texts kept; 1 takes the likeliest alignment and no n-gram")
    alpha: float = Field(0.8, ge=0, description="how much the counting scorers count beside CTC")
    beta: float = Field(1.0, description="bonus for each token, nats")
    least_log_p: float = Field(-7.0, le=0, description="tokens below this in a frame are not tried there")
    gap: float = Field(12.0, gt=0, description="texts worse than the best by more nats are dropped")
    hot_words: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Words or phrases that are expected, and by how many nats they are made likelier."""


class Rescoring(Section):
    """`[decoding.rescore]`: choose among the n best texts anew; see `rescoring`."""

    by: tuple[str, ...] = Field((), description="the model's scorers that are asked, by name")
    weights: dict[str, float] | None = None
    """By name, and "length" for a bonus a token, in nats; None tunes them on validation rows in training."""
    metric: str | None = Field(None, description="what weights are tuned for; None: the task's main one")
    max_rows: int = Field(500, ge=1, description="validation requests that weights are tuned on")

    @model_validator(mode="after")
    def _names_what_is_asked(self) -> Self:
        for name in self.weights or ():
            if name not in (*self.by, "length"):
                raise ValueError(f"a weight for '{name}', which is not asked; asked are {[*self.by, 'length']}")
        return self

    def weight_F(self) -> list[float]:
        """Return the weights in the order of the features; 0 where none is given."""
        weights = self.weights or {}
        return [weights.get(name, 0.0) for name in (*self.by, "length")]


class DecodingConfig(Section):
    """How a model's words are chosen.  A setting that the chosen search does not read is refused."""

    search: str = "greedy"
    max_tokens: int = Field(64, ge=1, description="longest text, its end included")
    min_tokens: int = Field(0, ge=0, description="shortest text, its end not counted")
    beam_width: int = Field(4, ge=1)
    length_penalty: float = Field(0.6, ge=0, description="0 ranks by log p, 1 by log p per token")
    n_best: int = Field(1, ge=1)
    early_stopping: bool = Field(False, description="stop at the first beam_width ended texts")
    temperature: float = Field(1.0, gt=0)
    top_k: int = Field(0, ge=0, description="0 = all")
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int = Field(0, ge=0)
    repetition_penalty: float = Field(1.0, gt=0, description="above 1, seen tokens become less likely")
    no_repeat_ngram: int = Field(0, ge=0, description="0 = off")
    ctc: CTCDecoding = CTCDecoding()
    rescore: Rescoring | None = None
    consensus: Consensus | None = None
    allow_unknown: bool = Field(False, description="whether the unknown word may be generated")

    @model_validator(mode="after")
    def _is_meant(self) -> Self:
        for search, names in _READ_BY.items():
            for name in names:
                changed = getattr(self, name) != type(self).model_fields[name].default
                if changed and self.search in SEARCHES and self.search != search:
                    raise ValueError(f"'{name}' is read by search = '{search}' only, not by '{self.search}'")
        if self.n_best > self.beam_width:
            raise ValueError(f"n_best = {self.n_best} is more than beam_width = {self.beam_width}")
        if self.rescore is not None and self.n_best < 2:
            raise ValueError("'rescore' chooses among texts: search = 'beam' with n_best of 2 or more is needed")
        if self.consensus is not None and self.rescore is not None:
            raise ValueError("'rescore' and 'consensus' each choose among the texts found: leave one out")
        if self.min_tokens >= self.max_tokens:
            raise ValueError(f"min_tokens = {self.min_tokens} leaves no room below max_tokens = {self.max_tokens}")
        return self

    @property
    def paths_per_row(self) -> int:
        """Return how many texts a row is written as at once: what memory goes by."""
        beam = self.beam_width if self.search == "beam" else 1
        return max(beam, 1 if self.consensus is None else self.consensus.draws)

    def among(self, scorers: Collection[str]) -> Self:
        """Return the settings for a model that has these scorers alone: without what asks others."""
        rescore, consensus = self.rescore, self.consensus
        if rescore is not None and not set(rescore.by) <= set(scorers):
            rescore = None
        if consensus is not None and consensus.memory not in (None, *scorers):
            consensus = consensus.model_copy(update={"memory": None})
        return self.model_copy(update={"rescore": rescore, "consensus": consensus})


@dataclass(frozen=True, slots=True)
class Decoder:
    """A search, its filters and the longest text, ready for any scorer."""

    search: Search
    filters: Sequence[Filter]
    max_tokens: int

    def __call__(self, scorer: Scorer, cond: Conditioning) -> Generated:
        """Generate a text for every row of `cond`; see `generate`."""
        return generate(scorer, cond, search=self.search, filters=self.filters, max_tokens=self.max_tokens)


def build(config: DecodingConfig, *, allowed: Sequence[Sequence[int]] | None = None) -> Decoder:
    """Build the decoder that `config` describes.

    Args:
        config: the settings.
        allowed: the only texts that may be generated, as ids without BOS and EOS; None = any text.

    Raises:
        ConfigError: no search of that name.
        UsageError: `allowed` is empty, or a text in it holds PAD or BOS.
    """
    search = cast("type[Search]", load(SEARCHES, ENTRY_POINTS, config.search, where="decoding.search"))
    return Decoder(search.from_config(config), filters(config, allowed), config.max_tokens)


def filters(config: DecodingConfig, allowed: Sequence[Sequence[int]] | None = None) -> tuple[Filter, ...]:
    """List the filters that `config` switches on, in the order in which they apply."""
    chosen: list[Filter] = []
    if config.repetition_penalty != 1:
        chosen.append(RepetitionPenalty(config.repetition_penalty))
    if config.no_repeat_ngram:
        chosen.append(NoRepeatNgram(config.no_repeat_ngram))
    if config.min_tokens:
        chosen.append(MinLength(config.min_tokens))
    if not config.allow_unknown:
        chosen.append(ForbiddenTokens((UNK,)))
    if allowed is not None:
        chosen.append(AllowedSequences(allowed))
    return tuple(chosen)
