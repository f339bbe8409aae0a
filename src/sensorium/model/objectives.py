"""What a model can be trained by without a target: hidden pieces of its inputs, and which pairs belong together.

Enters: a batch and the model that conditions on it.  Leaves: a loss a row for each objective, and what it measured.

    masked.NAME    -log p, or squared error, of hidden pieces of one input, from the memory of what is left of it
                   and of the row's other inputs, whole (see `encoders.masking`, `fusion.masked`)
    matching       whether two inputs are of one row (see `fusion.matching`)

Contrastive alignment, the third of the kind, stands in `[fusion.alignment]`.  Rows that share a medium would hide
and predict it again and again: one of them, drawn by chance, stands for all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from sensorium.core.config import Section, Source
from sensorium.core.errors import ConfigError
from sensorium.core.names import nearest
from sensorium.core.protocols import Masking, Preparer
from sensorium.core.types import Batch, Conditioning, Encoded, MediaBatch
from sensorium.fusion.alignment import Alignment
from sensorium.fusion.masked import MaskedHead
from sensorium.fusion.matching import Matching


class MaskedInput(Section):
    """`[objectives.masked.NAME]`, or its rate alone: `masked = { photo = 0.5 }`."""

    rate: float = Field(gt=0.0, lt=1.0)
    """Share of each medium's pieces that is hidden."""
    span: int | None = Field(None, ge=1)
    """Pixels a side of a patch, or frames of a run; None: an eighth of the picture, 8 frames."""
    weight: float = Field(1.0, gt=0.0, le=1000.0)
    """Of this loss beside the others."""


class ObjectivesSection(Section):
    """`[objectives]`: what is learned from the inputs alone, before a target or beside it."""

    masked: dict[str, MaskedInput] = Field(default_factory=dict)
    layers: int = Field(1, ge=1, le=32)
    """Blocks of attention between the memory and what is predicted of hidden pieces."""
    heads: int = Field(4, ge=1, le=128)
    matching: Matching.Config | None = None

    @field_validator("masked", mode="before")
    @classmethod
    def _rates_alone(cls, masked: Any) -> Any:
        if not isinstance(masked, Mapping):
            return masked
        return {
            name: value if isinstance(value, Mapping | Section) else {"rate": value}
            for name, value in masked.items()
        }

    def only(self, names: Collection[str]) -> ObjectivesSection | None:
        """Return what is left with these inputs alone; None if nothing is."""
        masked = {name: choice for name, choice in self.masked.items() if name in names}
        matching = self.matching if self.matching and set(self.matching.inputs) <= set(names) else None
        return self.model_copy(update={"masked": masked, "matching": matching}) if masked or matching else None


class HasInput(Protocol):
    """What is asked of a validated input (`model.config.InputChoice`)."""

    @property
    def section(self) -> Any:
        """Return its common keys."""
        ...

    @property
    def options(self) -> Section:
        """Return its encoder's options."""
        ...


def require_fitting(
    section: ObjectivesSection,
    inputs: Mapping[str, HasInput],
    width: int,
    alignment: Alignment.Config | None,
    source: Source,
) -> None:
    """Check that the objectives are of inputs there are, and that these can be masked.  Raises ConfigError."""
    matched = section.matching.inputs if section.matching else ()
    for key, names in {"masked": tuple(section.masked), "matching": matched}.items():
        for name in names:
            if name not in inputs:
                where, advice = source.where(f"objectives.{key}"), nearest(name, list(inputs))
                raise ConfigError(f"'objectives.{key}' names no input: '{name}'", where=where, advice=advice)
    if section.matching and section.matching.hard and not (alignment and set(matched) <= set(alignment.inputs)):
        advice = f"add [fusion.alignment] inputs = {list(matched)}, or leave 'hard' out"
        where = source.where("objectives.matching.hard")
        raise ConfigError("hard negatives are found by the alignment of both inputs", where=where, advice=advice)
    if section.masked and width % section.heads:
        where = source.where("objectives.heads")
        raise ConfigError(f"{section.heads} heads do not divide a width of {width}", where=where)
    for name in section.masked:
        _require_maskable(name, inputs[name], source)


def _require_maskable(name: str, choice: HasInput, source: Source) -> None:
    where = source.where(f"objectives.masked.{name}")
    if choice.section.frozen:
        advice = "leave 'frozen' out, or mask the other inputs: this one still helps to predict them"
        raise ConfigError(f"'{name}' is frozen, so its media are not encoded again", where=where, advice=advice)
    if choice.section.several:
        advice = "mask the other inputs: this one still helps to predict them"
        raise ConfigError(f"'{name}' lists several media a row, and one is masked", where=where, advice=advice)
    if not hasattr(choice.options, "masking"):
        kind = f"{choice.section.modality}.{choice.section.encoder}"
        raise ConfigError(f"nothing can be hidden of what '{kind}' reads", where=where)


@dataclass(frozen=True)
class Term:
    """One objective on one batch.

    Attributes:
        loss_B: (B,) weighted; its mean over rows is the objective's, so rows that stand for none have 0.
        measures: what to report, as (sum, count), by name.
    """

    loss_B: Tensor
    measures: Mapping[str, tuple[Tensor, int]]


class Conditions(Protocol):
    """What the objectives ask of the model they are part of."""

    encoders: nn.ModuleDict
    alignment: Alignment | None

    def encode_all(self, batch: Batch) -> dict[str, Encoded]:
        """Encode every input."""
        ...

    def fuse(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse what was encoded."""
        ...


class Objectives(nn.Module):
    """The heads of all objectives but alignment.

    Args:
        section: which objectives.
        inputs: the model's inputs.
        preparers: fitted, by input.
        width: D.

    Raises:
        ConfigError: pieces that do not fit into an input.
    """

    def __init__(
        self,
        section: ObjectivesSection,
        inputs: Mapping[str, HasInput],
        preparers: Mapping[str, Preparer],
        width: int,
    ) -> None:
        super().__init__()
        self.section = section
        self.maskings: dict[str, Masking] = {
            name: masking_of(name, inputs[name].options, preparers[name], masked.span)
            for name, masked in section.masked.items()
        }
        self.heads = nn.ModuleDict(
            {
                name: MaskedHead(
                    width, masking.num_coordinates, masking.num_outputs, layers=section.layers, heads=section.heads
                )
                for name, masking in self.maskings.items()
            }
        )
        self.matching = None if section.matching is None else Matching(section.matching, width)

    def forward(
        self, batch: Batch, model: Conditions, parts: Mapping[str, Encoded] | None = None
    ) -> dict[str, Term]:
        """Return every objective's term, by name.

        Args:
            parts: the encodings of the whole batch, if they are there already.
        """
        terms = {f"masked {name}": self._masked(name, batch, model) for name in self.maskings}
        if self.matching is not None:
            terms["matching"] = self._matching(self.matching, batch, model, parts or model.encode_all(batch))
        return terms

    def _matching(self, matching: Matching, batch: Batch, model: Conditions, parts: Mapping[str, Encoded]) -> Term:
        media = {name: inputs.row_B for name, inputs in batch.inputs.items()}
        loss_B, right_B = matching(parts, media, lambda parts: model.fuse(parts).memory, model.alignment)
        judged_B = right_B >= 0
        num_judged = int(judged_B.sum())
        measures = {
            "loss": (loss_B.detach().sum() / matching.weight, num_judged),
            "accuracy": (right_B[judged_B].sum(), 2 * num_judged),
        }
        return Term(loss_B * (len(loss_B) / max(num_judged, 1)), measures)

    def _masked(self, name: str, batch: Batch, model: Conditions) -> Term:
        masking, choice = self.maskings[name], self.section.masked[name]
        row_R = representatives(batch.inputs[name].row_B)
        loss_B = torch.zeros(batch.num_rows, device=row_R.device)
        if not len(row_R):
            return Term(loss_B, {"loss": (loss_B.sum(), 0)})
        rows = batch.rows(row_R)
        with unaugmented(model.encoders.values()):
            hidden = masking.hide(augmented(model.encoders[name], rows.inputs[name]), choice.rate)
            parts = model.encode_all(replace(rows, inputs={**rows.inputs, name: hidden.media}))
        coordinate_PC = masking.coordinates(hidden.hidden_UP.shape[1])
        output_RPO = self.heads[name](model.fuse(parts).memory, parts[name], coordinate_PC)
        medium_R = rows.inputs[name].row_B
        told = replace(hidden, target=hidden.target[medium_R], hidden_UP=hidden.hidden_UP[medium_R])
        loss_R = masking.loss(output_RPO, told)
        spread_B = loss_B.index_copy(0, row_R, choice.weight * loss_R * (batch.num_rows / len(row_R)))
        return Term(spread_B, {"loss": (loss_R.detach().sum(), len(row_R))})


def masking_of(name: str, options: Any, preparer: Preparer, span: int | None) -> Masking:
    """Return how an input is masked.  Raises ConfigError: pieces that do not fit."""
    try:
        masking: Masking = options.masking(preparer, span)
    except ConfigError as error:
        raise error.at(f"objectives.masked.{name}") from None
    return masking


def representatives(medium_B: Tensor) -> Tensor:
    """Draw one row for each medium that rows have: row numbers (R,), in order of the media.

    Args:
        medium_B: (B,) which medium each row has, -1 = none.
    """
    num_rows = len(medium_B)
    rank_B = torch.randperm(num_rows, device=medium_B.device)
    present_B = medium_B >= 0
    num_media = int(medium_B.max()) + 1 if num_rows else 0
    best_U = torch.full((num_media,), -1, device=medium_B.device)
    best_U = best_U.scatter_reduce(0, medium_B[present_B], rank_B[present_B], "amax")
    return rank_B.argsort()[best_U[best_U >= 0]]


class Augments(Protocol):
    """An encoder's augmentation, which can be had before its media are encoded."""

    training: bool

    def media(self, media: MediaBatch) -> MediaBatch:
        """Change media as in training."""
        ...


def augmented(encoder: nn.Module, media: MediaBatch) -> MediaBatch:
    """Return media as the encoder would change them in training: targets must be of what it sees."""
    augment: Augments | None = getattr(encoder, "augment", None)
    return augment.media(media) if augment is not None and encoder.training else media


@contextlib.contextmanager
def unaugmented(encoders: Iterable[nn.Module]) -> Iterator[None]:
    """Let encoders take media as they are."""
    found = [augment for encoder in encoders if isinstance(augment := getattr(encoder, "augment", None), nn.Module)]
    modes = [augment.training for augment in found]
    try:
        for augment in found:
            augment.eval()
        yield
    finally:
        for augment, mode in zip(found, modes, strict=True):
            augment.train(mode)
