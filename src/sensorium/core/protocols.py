"""The seams: Preparer, Encoder, Fusion, Scorer.

A component is a class with a nested pydantic `Config` (see `core.config.Section`), named by one line
in a registry (`core.registry`) and proven by one contract suite (`sensorium.testing`):

    Preparer   one medium or text -> one tensor, in a loader process; no gradient
    Encoder    MediaBatch -> Encoded
    Fusion     many Encoded -> one Conditioning
    Scorer     Conditioning + tokens so far -> log p(next token)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from torch import Tensor

from sensorium.core.errors import SensoriumError
from sensorium.core.types import Conditioning, Encoded, Hidden, Item, MediaBatch
from sensorium.core.vocabulary import Vocab


@runtime_checkable
class Preparer(Protocol):
    """Turn one table cell into one tensor at the size its encoder wants.

    A preparer is pickled into loader processes, so it holds plain data only.
    """

    modality: str

    def item(self, cell: str, folder: Path) -> Item:
        """Read a table cell: text as it is, a path relative to `folder`; None where empty."""
        ...

    def fit(self, items: Iterable[Item]) -> Self:
        """Learn from training items what has to be learned (a vocabulary); most learn nothing."""
        ...

    def __call__(self, item: Any) -> Tensor:
        """Prepare one item, Media or str by modality.  Raises MediaError or DataError."""
        ...

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Stack or pad U prepared items: (U, ...) and mask (U, T) or None.  U may be 0."""
        ...

    @property
    def fingerprint(self) -> str:
        """Name this preparation: equal fingerprints give equal tensors for equal bytes."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `fit` learned into `folder` (which exists)."""
        ...

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; returns self.  Raises ModelError."""
        ...


@runtime_checkable
class GroupPreparer(Protocol):
    """A preparer to which several items together cost less than one by one."""

    were_cut: Sequence[bool]
    """Which of the items that `together` was last given were longer than it takes."""

    def together(self, items: Sequence[Any]) -> list[Tensor | SensoriumError]:
        """Prepare items; an answer for each, the error that it raised where it could not be prepared."""
        ...


@runtime_checkable
class CuttingPreparer(Protocol):
    """A preparer that leaves out what an item has beyond the longest it takes, and counts such items."""

    @property
    def truncated(self) -> int:
        """Count the items cut so far, in this process."""
        ...


@runtime_checkable
class Hiding(Protocol):
    """How places of prepared values are hidden: pixels of an image, frames of a sound, tokens of a text."""

    axes: tuple[int, ...]  # of the values (U, ...), along which the places lie
    is_continuous: bool  # values between a hidden place and a shown one mean something
    scales: tuple[int, ...]  # how many tiles long the windows are that occlusion hides
    picture: str  # how a map of the places is drawn, a name in `explain.pictures.PICTURES`

    def blank(self, values: Tensor) -> Tensor:
        """Return what every place looks like when it says nothing, the shape of `values`."""
        ...

    def tile(self, length: int) -> int:
        """Return how many places of an axis of `length` are hidden together, unless told otherwise."""
        ...


@runtime_checkable
class HidingPreparer(Protocol):
    """A preparer whose values can be hidden place by place, so that its input can be explained."""

    hiding: Hiding


class Encoder(Protocol):
    """Encode one modality.  Built as `Encoder(config, preparer, width)`.

    `config.preparer()` makes the unfitted Preparer that this encoder reads from.
    """

    modality: str
    width: int

    def __call__(self, media: MediaBatch) -> Encoded:
        """Encode U media and hand them to B rows (`core.types.per_row`): (B, T, width)."""
        ...


@runtime_checkable
class CountingEncoder(Protocol):
    """An encoder that is fitted by counting, before anything descends; it says `fitted_by = "counting"`."""

    fitted_by: str

    def fit(self, examples: Iterable[tuple[MediaBatch, Tensor]]) -> Self:
        """Count training media, each batch with the target ids (B, T) of its rows, BOS to EOS, padded."""
        ...


class Masking(Protocol):
    """Hide pieces of one input's media, and judge what is predicted in their place.

    An input's section that has `masking(preparer, span)` can be modelled by what is hidden of it.
    """

    num_outputs: int  # numbers predicted a piece
    num_coordinates: int

    def hide(self, media: MediaBatch, rate: float) -> Hidden:
        """Hide about `rate` of each medium's pieces, one at least, drawn by torch's generator."""
        ...

    def coordinates(self, num_pieces: int) -> Tensor:
        """Return where the pieces are, (P, num_coordinates) float, neighbours 1 apart."""
        ...

    def loss(self, output_UPO: Tensor, hidden: Hidden) -> Tensor:
        """Return the mean loss over each medium's hidden pieces, (U,); 0 where none is hidden."""
        ...


class Fusion(Protocol):
    """Fuse encodings of equal width.  Built as `Fusion(config, names, width)`.

    One that says `ignores_absent = True` reads no absent token in a row that has any part; others read them.
    """

    width: int

    def __call__(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse; the memory has M >= 1 positions of `width`.  Padding never changes the result."""
        ...


State = Any  # a pytree (dataclass, tuple, list, dict) of tensors, rows first; see core.pytree


class Scorer(Protocol):
    """Score the next token.  Built as `Scorer(config, vocab, width)`, an nn.Module.

    Sequences begin with BOS, which the caller feeds; `log p` of PAD and BOS is -inf.
    A state may be extended again from an older copy only after `core.pytree.select`: scorers may
    reuse the memory of the state they are given.
    """

    vocab: Vocab
    fitted_by: str  # "counting" (has `fit`), "gradient" (score is differentiable) or "parts"

    def start(self, cond: Conditioning) -> State:
        """Begin B rows."""
        ...

    def extend(self, state: State, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, State]:
        """Feed T >= 1 tokens (prefill and step alike; each row has a real one, padding is on the right).

        Returns log p(next) (B, V) with logsumexp 0, and the new state.
        """
        ...

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | token_<t, cond), (B, T); 0 at t = 0 (BOS) and at padding."""
        ...


@runtime_checkable
class CountingScorer(Protocol):
    """A scorer that is fitted by counting token sequences."""

    def fit(self, sequences: Iterable[Sequence[int]]) -> Self:
        """Count; each sequence runs from BOS to EOS."""
        ...


@runtime_checkable
class UnrollingScorer(Protocol):
    """A scorer that knows its distributions at all positions of a text without going step by step."""

    def unroll(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(next) after each position, (B, T, V), as looped `extend`; padding may hold anything."""
        ...


@runtime_checkable
class FactualScorer(Protocol):
    """A scorer that can tell, beside its distribution, what that rests on: numbers that a gate may read."""

    num_facts: int

    def facts(self, state: State) -> Tensor:
        """Return (B, F) about the next token, from the state after the tokens before it."""
        ...

    def unroll_facts(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return the same after each position, (B, T, F)."""
        ...


@runtime_checkable
class EvidenceScorer(Protocol):
    """A scorer that is fitted by counting targets together with the evidence they are conditioned on.

    `fitted_by` is "counting".  Batches come once, in any number, then `estimate` is called.
    """

    def observe(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> None:
        """Take in B rows: BOS..EOS, and `cond.evidence`, the words of each input (B, T), and -1 behind them."""
        ...

    def estimate(self) -> Self:
        """Fit to what was observed since the last estimate."""
        ...


@runtime_checkable
class HiddenScorer(Protocol):
    """A neural scorer that shows the vector each prediction is made from: the last before its output layer.

    `extend` is `extend_hidden`, then `predict`.
    """

    hidden_width: int

    def extend_hidden(self, state: State, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, State]:
        """Feed T tokens; returns the hidden vector (B, W) after each row's last one, and the new state."""
        ...

    def unroll_hidden(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return the hidden vector after each position, (B, T, W); padding may hold anything."""
        ...

    def predict(self, hidden: Tensor) -> Tensor:
        """Return log p(next) (..., V) from hidden vectors (..., W)."""
        ...


@runtime_checkable
class WeighingLayer(Protocol):
    """A self-attention layer that tells its weights: `attention_weights` takes what the layer is called with."""

    def attention_weights(self, x_UTF: Tensor, mask_UT: Tensor | None = None, turn: Any = None) -> Tensor:
        """Return each head's weights (U, H, T, T); rows sum to 1."""
        ...


@runtime_checkable
class ReadingFusion(Protocol):
    """A fusion that can tell which positions of its parts each memory position was read from."""

    def reading(self, parts: Mapping[str, Encoded]) -> Mapping[str, Tensor]:
        """Return by part (B, M, T) >= 0; over all parts together a memory position's sum to 1 at most.

        What is missing from 1 are vectors that were learned, and are read from no part.

        Raises:
            UsageError: what this fusion does is no reading of positions; the message says what it is.
        """
        ...


@runtime_checkable
class ReadingScorer(Protocol):
    """A scorer that can tell which memory positions it attends to."""

    def reading(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor | None:
        """Return (B, T, M) >= 0: what each token's successor was read from; None where it is set not to attend."""
        ...


@runtime_checkable
class MemoryScorer(Protocol):
    """A scorer that remembers training rows as what they were conditioned on.

    `fitted_by` is "counting", but it is fitted last, since encoders and fusion have to be fitted before: training
    batches come once, in any number, then `settle` is called, then `tune` with held-out rows.
    """

    def remember(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> None:
        """Take in B rows, BOS..EOS, with what they are conditioned on."""
        ...

    def settle(self) -> Self:
        """Answer from what was remembered since the last time, and from that alone."""
        ...

    def tune(self, held_out: Iterable[tuple[Tensor, Tensor, Conditioning]]) -> Self:
        """Fit what has to be fitted on held-out rows."""
        ...


@runtime_checkable
class RecallingScorer(Protocol):
    """A scorer that can tell the very texts that it answers from."""

    def recall(self, cond: Conditioning) -> tuple[Tensor, Tensor]:
        """Return texts of K remembered rows for each row, (B, K, S) without BOS, and their weights (B, K) >= 0."""
        ...


@runtime_checkable
class RememberingScorer(Protocol):
    """A scorer that remembers what another one's hidden vectors were followed by.

    `fitted_by` is "counting", but it is fitted last: when the other scorer is, training batches come once, in
    any number, then `settle` is called, then `tune` with rows that neither of the two was fitted on.
    """

    reads: str  # the other scorer's name
    read_scorer: Any  # the other scorer; None until `read`

    def read(self, scorer: Any) -> Self:
        """Take the scorer that is read, a HiddenScorer; it stays somebody else's part.  Raises ModelError."""
        ...

    def remember(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> None:
        """Take in B rows, BOS..EOS, with what they are conditioned on."""
        ...

    def settle(self) -> Self:
        """Answer from what was remembered since the last time, and from that alone."""
        ...

    def tune(self, held_out: Iterable[tuple[Tensor, Tensor, Conditioning]]) -> Self:
        """Fit what has to be fitted on held-out rows."""
        ...

    def given(self, hidden_BW: Tensor, read_BV: Tensor) -> tuple[Tensor, State]:
        """Return log p(next) (B, V) where the other scorer's hidden vectors are known, and the state after them.

        Args:
            read_BV: what the other one makes of them, its log p(next).
        """
        ...


@runtime_checkable
class TeachableScorer(Protocol):
    """A scorer that takes texts in, and gives them back, without being fitted again."""

    def teach(self, taught: Sequence[tuple[Sequence[int], int]]) -> Self:
        """Answer as if these texts had been counted with the training texts.

        Args:
            taught: every text that is taught from now on, in place of those before: its tokens (BOS..EOS) and
                how many times it counts.  None restores, bit for bit, what was fitted.

        Raises:
            ModelError: what was counted is not known (tables that were read, or pruned).
        """
        ...
