"""The words everybody shares: Sample, MediaBatch, Batch, Encoded, Conditioning.

Letters in tensor names: B rows, U distinct media of a batch, T tokens or frames, M memory positions,
D width, V vocabulary.  Masks: True = real.  Log-probabilities are nats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Media:
    """Name one image, sound or video: a local path, or bytes in memory; or a part of either.

    The bytes are untrusted; only `sensorium.media` opens them.

    Attributes:
        path: a local file.
        data: the bytes themselves.
        member: which part of the file, as `sensorium.media.address` writes it; '' = all of it.
        span_s: from which second on and up to which one (None = the end); None = all of it.
    """

    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    member: str = ""
    span_s: tuple[float, float | None] | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.data is None):
            raise ValueError("a Media has either a path or data")
        if self.span_s is not None and not 0 <= self.span_s[0] < (self.span_s[1] or math.inf):
            raise ValueError(f"a span ends after it begins, unlike {self.span_s}")

    def __str__(self) -> str:
        part = f"::{self.member}" if self.member else ""
        if self.span_s is not None:
            start_s, end_s = self.span_s
            part += f"#t={start_s:g}" + ("" if end_s is None else f",{end_s:g}")
        return f"'{self.path}{part}'" if self.path is not None else f"<{len(self.data or b'')} bytes{part}>"


Item = Media | str | None
Items = tuple[Media | str, ...]
"""Several media of one kind in a row, in order; a row without any has None."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row: an identity, its inputs by name (None = this row lacks it), and its target text."""

    id: str
    inputs: Mapping[str, Item | Items]
    target: str | None = None


@dataclass(frozen=True, slots=True)
class MediaBatch:
    """The distinct media of one input in a batch, and which row uses which.

    Attributes:
        values: (U, ...) what the input's preparer made of each medium, padded.
        mask_UT: (U, T) bool, True = real; None where media have no length (images).
        row_B: (B,) int64 index into U, or into S where there are lists; -1 where the row lacks this input.
        list_SK: where a row may have several media, the S distinct lists of up to K of them: (S, K) int64 index
            into U, padded with -1 on the right; else None.
    """

    values: Tensor
    mask_UT: Tensor | None
    row_B: Tensor
    list_SK: Tensor | None = None

    def absent(self) -> MediaBatch:
        """Return as many rows, of which none has this input: no medium is left to be encoded."""
        mask = None if self.mask_UT is None else self.mask_UT[:0]
        lists = None if self.list_SK is None else self.list_SK[:0]
        return MediaBatch(self.values[:0], mask, torch.full_like(self.row_B, -1), lists)

    def to(self, device: torch.device) -> MediaBatch:
        """Return the same media on `device`."""
        mask = None if self.mask_UT is None else self.mask_UT.to(device, non_blocking=True)
        lists = None if self.list_SK is None else self.list_SK.to(device, non_blocking=True)
        row_B = self.row_B.to(device, non_blocking=True)
        return MediaBatch(self.values.to(device, non_blocking=True), mask, row_B, lists)


@dataclass(frozen=True, slots=True)
class Hidden:
    """Media of which pieces were hidden, and what stood there: U media of P patches, runs of frames or words.

    Attributes:
        media: the media without their hidden pieces.
        target: (U, P, ...) what each piece held.
        hidden_UP: (U, P) bool, True = to be predicted.
    """

    media: MediaBatch
    target: Tensor
    hidden_UP: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows ready for a model.

    Attributes:
        row_id_B: (B,) int64 row numbers in the table they came from.
        inputs: one MediaBatch an input name.
        token_BT: (B, T) int64 target ids, each row from BOS to EOS, padded; None when unknown.
        mask_BT: (B, T) bool, True = real; None when the target is unknown.
        task: whose rows these are, in a model of several tasks; empty where there is one.
    """

    row_id_B: Tensor
    inputs: Mapping[str, MediaBatch]
    token_BT: Tensor | None = None
    mask_BT: Tensor | None = None
    task: str = ""

    @property
    def num_rows(self) -> int:
        """Count the rows."""
        return int(self.row_id_B.shape[0])

    def to(self, device: torch.device) -> Batch:
        """Return the same rows on `device`."""
        return Batch(
            self.row_id_B.to(device, non_blocking=True),
            {name: media.to(device) for name, media in self.inputs.items()},
            None if self.token_BT is None else self.token_BT.to(device, non_blocking=True),
            None if self.mask_BT is None else self.mask_BT.to(device, non_blocking=True),
            self.task,
        )

    def rows(self, row_R: Tensor) -> Batch:
        """Return the rows `row_R`, (R,) int64 or (B,) bool; distinct media stay as they are."""
        inputs = {name: replace(media, row_B=media.row_B[row_R]) for name, media in self.inputs.items()}
        token_RT = None if self.token_BT is None else self.token_BT[row_R]
        mask_RT = None if self.mask_BT is None else self.mask_BT[row_R]
        return Batch(self.row_id_B[row_R], inputs, token_RT, mask_RT, self.task)

    def only(self, names: frozenset[str]) -> Batch:
        """Return the same rows with every input outside `names` marked absent, and its media left out."""
        inputs = {name: media if name in names else media.absent() for name, media in self.inputs.items()}
        return replace(self, inputs=inputs)

    def under(self, patterns: Sequence[frozenset[str]]) -> Batch:
        """Return the rows once for each set of inputs that they may show, P * B rows, pattern by pattern.

        The media stay as they are, so that each is still encoded once, whatever the number of patterns.
        """
        inputs = {
            name: replace(
                media,
                row_B=torch.cat(
                    [media.row_B if name in shown else torch.full_like(media.row_B, -1) for shown in patterns]
                ),
            )
            for name, media in self.inputs.items()
        }

        def repeated(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.repeat(len(patterns), *[1] * (x.ndim - 1))

        row_id_B = self.row_id_B.repeat(len(patterns))
        return Batch(row_id_B, inputs, repeated(self.token_BT), repeated(self.mask_BT))


@dataclass(frozen=True, slots=True)
class Encoded:
    """A sequence of vectors a row.

    Attributes:
        x_BTD: (B, T, D) float.
        mask_BT: (B, T) bool, True = real.
        present_B: (B,) bool; an absent row holds one real position, the learned absent token.
    """

    x_BTD: Tensor
    mask_BT: Tensor
    present_B: Tensor

    def rows(self, row_R: Tensor) -> Encoded:
        """Return the rows `row_R`, (R,) int64 or (B,) bool."""
        return Encoded(self.x_BTD[row_R], self.mask_BT[row_R], self.present_B[row_R])

    def mean_BD(self) -> Tensor:
        """Average over real positions; a row without any gives zeros.  Returns (B, D)."""
        weight_BT = self.mask_BT.to(self.x_BTD.dtype)
        total_BD = torch.einsum("btd,bt->bd", torch.where(self.mask_BT[..., None], self.x_BTD, 0), weight_BT)
        return total_BD / weight_BT.sum(1, keepdim=True).clamp_min(1)


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What a scorer may condition on.

    Attributes:
        memory: the fused positions (B, M, D); M may be 0.
        parts: the encodings before fusion, by input name.
        row_id_B: (B,) int64, each row's own number, >= 0, by which whatever is drawn for it is drawn, wherever the
            row stands.  None = its place.
        evidence: further tensors, rows first, for statistical scorers; an input that has words (texts, and
            sounds or images brought to a codebook) gives them by its name, (B, T) int64 ids, and -1 behind them.
    """

    memory: Encoded
    parts: Mapping[str, Encoded] = field(default_factory=dict)
    evidence: Mapping[str, Tensor] = field(default_factory=dict)
    row_id_B: Tensor | None = None

    @property
    def num_rows(self) -> int:
        """Count the rows."""
        return int(self.memory.present_B.shape[0])

    def numbers(self) -> Tensor:
        """Return each row's own number, (B,) int64; its place where none is known."""
        if self.row_id_B is not None:
            return self.row_id_B
        return torch.arange(self.num_rows, device=self.memory.present_B.device)

    @classmethod
    def empty(cls, num_rows: int, width: int = 1, device: torch.device | None = None) -> Conditioning:
        """Condition on nothing: a memory of no positions."""
        return cls(
            Encoded(
                torch.zeros(num_rows, 0, width, device=device),
                torch.zeros(num_rows, 0, dtype=torch.bool, device=device),
                torch.zeros(num_rows, dtype=torch.bool, device=device),
            )
        )


def words_by_row(media: MediaBatch) -> Tensor:
    """Give each row the words of its text, (B, T) int64, and -1 behind them.

    Of several texts the words follow each other without gaps, so that a row's words do not depend on how long the
    texts of other rows are.

    Args:
        media: whose values are word ids (U, T).
    """
    word_UT = media.values if media.mask_UT is None else torch.where(media.mask_UT, media.values, -1)
    if word_UT.numel() == 0:
        return torch.full((len(media.row_B), 0), -1, dtype=torch.int64, device=media.row_B.device)
    absent_1T = torch.full_like(word_UT[:1], -1)
    if media.list_SK is not None:
        member_SK = torch.where(media.list_SK >= 0, media.list_SK, len(word_UT))
        word_UT = torch.cat([word_UT, absent_1T]).index_select(0, member_SK.flatten())
        word_UT = word_UT.unflatten(0, member_SK.shape).flatten(1)
        absent_1T = torch.full((1, word_UT.shape[1]), -1, dtype=word_UT.dtype, device=word_UT.device)
    word_UT = word_UT.gather(1, (word_UT < 0).long().argsort(dim=1, stable=True))
    return torch.cat([word_UT, absent_1T]).index_select(0, torch.where(media.row_B >= 0, media.row_B, len(word_UT)))


def per_row(x_UTD: Tensor, mask_UT: Tensor | None, row_B: Tensor, absent_D: Tensor) -> Encoded:
    """Give each row the encoding of its medium, and absent rows the absent token.

    This is where "a medium is encoded once" happens: U media, B >= U rows.

    Args:
        x_UTD: (U, T, D) encodings of the distinct media; U may be 0.
        mask_UT: (U, T) bool or None for all real.
        row_B: (B,) index into U, -1 = absent.
        absent_D: (D,) the learned vector of a missing input.
    """
    num_media, length, width = x_UTD.shape
    if num_media == 0 or length == 0:
        x_UTD, mask_UT, num_media, length = x_UTD.new_zeros(0, 1, width), None, 0, 1
        row_B = torch.full_like(row_B, -1)
    if mask_UT is None:
        mask_UT = torch.ones(num_media, length, dtype=torch.bool, device=x_UTD.device)
    else:
        x_UTD = torch.where(mask_UT[..., None], x_UTD, 0)
    # The absent token is one more medium, so that one copy (and one scatter on the way back) serves every row.
    first_1T = torch.arange(length, device=x_UTD.device)[None] == 0
    absent_1TD = torch.where(first_1T[..., None], absent_D.to(x_UTD.dtype), 0)
    present_B = row_B >= 0
    medium_B = torch.where(present_B, row_B, num_media)
    x_BTD = torch.cat([x_UTD, absent_1TD]).index_select(0, medium_B)
    mask_BT = torch.cat([mask_UT, first_1T]).index_select(0, medium_B)
    return Encoded(x_BTD, mask_BT, present_B)
