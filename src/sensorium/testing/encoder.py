"""The contract of every encoder, as one call: `check_encoder(make_encoder, make_media)`.

Enters: a function that makes a fresh encoder, and one that makes media for it.  Leaves: nothing, or an
AssertionError that names the broken promise.  A third party runs it on its own encoder:

    def test_contract() -> None:
        check_encoder(lambda: MyEncoder(MyEncoder.Config(), preparer, width=8), make_media)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sensorium.core.protocols import CountingEncoder, Encoder
from sensorium.core.types import Encoded, MediaBatch
from sensorium.core.vocabulary import BOS, EOS

MakeEncoder = Callable[[], Encoder]
MakeMedia = Callable[[int], MediaBatch]

_NUM_MEDIA = 4


def check_encoder(
    make_encoder: MakeEncoder, make_media: MakeMedia, *, tolerance: float = 1e-4, seed: int = 0
) -> None:
    """Assert everything that fusion, grouping of shared media, and training rely on.

    Args:
        make_encoder: makes a fresh encoder, an nn.Module; called twice.
        make_media: makes U distinct media, as its preparer's `collate` would, of different lengths where media
            have one; U may be 0.  Their `row_B` is not looked at.
        tolerance: allowed difference, relative to the largest value.
        seed: of weights and media; the global generator is left as it was.

    Raises:
        AssertionError: naming the promise that does not hold.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = make_encoder()
        assert isinstance(encoder, nn.Module), "an encoder is an nn.Module"
        suite = _Suite(encoder.eval(), make_media, tolerance)
        with torch.no_grad():
            for check in _CHECKS:
                check(suite)
            _check_round_trip(suite, make_encoder)
            _check_counting(suite, make_encoder)
        _check_rows_independent_in_training(suite)
        _check_gradients(suite)


class _Suite:
    """One encoder in evaluation mode, and the media it is tried on."""

    def __init__(self, encoder: nn.Module, make_media: MakeMedia, tolerance: float) -> None:
        self.encoder, self.tolerance = encoder, tolerance
        self.media = make_media(_NUM_MEDIA)
        self.no_media = make_media(0)
        assert len(self.media.values) == _NUM_MEDIA, f"make_media({_NUM_MEDIA}) makes {_NUM_MEDIA} media"
        assert len(self.no_media.values) == 0, "make_media(0) makes none"

    def encode(self, media: MediaBatch, rows: Sequence[int]) -> Encoded:
        """Encode with `rows` as row_B."""
        encoded: Encoded = self.encoder(replace(media, row_B=torch.tensor(rows, dtype=torch.int64)))
        return encoded

    def rows_by(self, encoder: Any) -> list[Tensor]:
        """Return the real positions of each medium by another encoder."""
        encoded = encoder(replace(self.media, row_B=torch.arange(_NUM_MEDIA)))
        return [real(encoded, row) for row in range(_NUM_MEDIA)]

    def same(self, got: Tensor, want: Tensor, promise: str, scale: float = 1.0) -> None:
        """Assert equality within tolerance, relative to the largest value."""
        assert got.shape == want.shape, f"{promise}: {tuple(got.shape)}, not {tuple(want.shape)}"
        assert not got.isnan().any(), f"{promise}: NaN"
        gap = float((got - want).abs().max()) / max(1.0, float(want.abs().max()))
        assert gap <= scale * self.tolerance, f"{promise}: values differ by {gap:.3g} of the largest"


def real(encoded: Encoded, row: int) -> Tensor:
    """Return the real positions of one row, (T_row, D)."""
    return encoded.x_BTD[row][encoded.mask_BT[row]]


def one_medium(media: MediaBatch, index: int) -> MediaBatch:
    """Return a batch of one medium, without the padding that longer ones brought."""
    values, mask_UT = media.values[index : index + 1], media.mask_UT
    row_B = torch.zeros(1, dtype=torch.int64)
    if mask_UT is None:
        return MediaBatch(values, None, row_B)
    length = int(mask_UT[index].sum())
    return MediaBatch(values[:, :length], mask_UT[index : index + 1, :length], row_B)


def _check_shapes(suite: _Suite) -> None:
    rows = [0, 1, 2, 3]
    encoded = suite.encode(suite.media, rows)
    width = suite.encoder.width
    assert encoded.x_BTD.ndim == 3, f"x has axes B, T, D, not {tuple(encoded.x_BTD.shape)}"
    assert encoded.x_BTD.shape[0] == len(rows), "one encoding a row"
    assert encoded.x_BTD.shape[2] == width, f"D is the width, {width}, not {encoded.x_BTD.shape[2]}"
    assert encoded.x_BTD.shape[1] >= 1, "at least one position"
    assert encoded.x_BTD.is_floating_point(), "x is floating point"
    assert encoded.x_BTD.isfinite().all(), "x is finite, padding included"
    assert encoded.mask_BT.shape == encoded.x_BTD.shape[:2], "the mask has axes B, T"
    assert encoded.mask_BT.dtype == torch.bool, "the mask is bool"
    assert encoded.mask_BT.any(1).all(), "a present row has a real position"
    assert encoded.present_B.shape == (len(rows),), "presence has axis B"
    assert encoded.present_B.dtype == torch.bool, "presence is bool"
    assert encoded.present_B.all(), "rows with a medium are present"
    assert isinstance(getattr(suite.encoder, "modality", None), str), "an encoder names its modality"


def _check_determinism(suite: _Suite) -> None:
    first, second = (suite.encode(suite.media, [0, 1, 2, 3]) for _ in range(2))
    assert torch.equal(first.x_BTD, second.x_BTD), "in evaluation, the same media give the same numbers"


def _check_content_matters(suite: _Suite) -> None:
    """Media of the same lengths and other content are encoded otherwise."""
    rows = list(range(_NUM_MEDIA))
    other = replace(suite.media, values=suite.media.values.roll(1, dims=0))
    first, second = suite.encode(suite.media, rows), suite.encode(other, rows)
    assert any(not torch.equal(real(first, row), real(second, row)) for row in rows), "what a medium holds matters"


def _check_absent(suite: _Suite) -> None:
    """An absent row is one real position, the same in every row, whatever the media are."""
    mixed = suite.encode(suite.media, [-1, 0, -1])
    assert mixed.present_B.tolist() == [False, True, False], "rows of index -1 are absent, and they alone"
    assert mixed.mask_BT[[0, 2]].sum(1).tolist() == [1, 1], "an absent row has exactly one real position"
    token_1D = real(mixed, 0)
    suite.same(real(mixed, 2), token_1D, "all absent rows hold the same token")
    settings = {
        "other media": suite.encode(one_medium(suite.media, 1), [-1, 0]),
        "only absent rows": suite.encode(suite.media, [-1, -1]),
        "no media (U = 0)": suite.encode(suite.no_media, [-1, -1]),
    }
    for name, encoded in settings.items():
        assert not encoded.present_B[0], f"with {name}: an absent row is absent"
        suite.same(real(encoded, 0), token_1D, f"with {name}: the absent token stays the same")
    assert len(suite.encode(suite.no_media, []).present_B) == 0, "a batch without rows is encoded"


def _check_padding(suite: _Suite) -> None:
    """Padding wider, with anything, changes no real position."""
    media = suite.media
    if media.mask_UT is None:
        return
    want = suite.encode(media, [0, 1, 2, 3])
    garbage = media.values[media.mask_UT]  # real values of the same media, so ids stay ids
    for extra in (1, 2, 9):
        shape = (len(media.values), extra, *media.values.shape[2:])
        padding = garbage[torch.randint(len(garbage), shape[:2])].reshape(shape)
        values = torch.cat([media.values, padding], 1)
        mask_UT = torch.cat([media.mask_UT, torch.zeros(shape[:2], dtype=torch.bool)], 1)
        values[:, : media.mask_UT.shape[1]][~media.mask_UT] = garbage[0]
        got = suite.encode(MediaBatch(values, mask_UT, media.row_B), [0, 1, 2, 3])
        for row in range(_NUM_MEDIA):
            suite.same(real(got, row), real(want, row), f"padding by {extra} changes nothing")


def _check_rows_independent(suite: _Suite) -> None:
    """Each medium alone, unpadded, encodes as in its batch."""
    together = suite.encode(suite.media, [0, 1, 2, 3])
    for row in range(_NUM_MEDIA):
        alone = suite.encode(one_medium(suite.media, row), [0])
        suite.same(real(alone, 0), real(together, row), "a medium alone encodes as in its batch")


def _check_shared(suite: _Suite) -> None:
    """Rows that share a medium get the encoding of that medium, in any order."""
    once = suite.encode(suite.media, [0, 1, 2, 3])
    rows = [2, 0, 0, -1, 3, 2]
    shared = suite.encode(suite.media, rows)
    for row, index in enumerate(rows):
        if index >= 0:
            suite.same(real(shared, row), real(once, index), "rows that share a medium share its encoding")


def _check_order(suite: _Suite) -> None:
    """The order in which media stand does not matter, nor how often one does."""
    want, order = suite.encode(suite.media, list(range(_NUM_MEDIA))), torch.tensor([3, 1, 1, 0, 2])
    mask_UT = None if suite.media.mask_UT is None else suite.media.mask_UT[order]
    got = suite.encode(MediaBatch(suite.media.values[order], mask_UT, order), list(range(len(order))))
    for place, index in enumerate(order.tolist()):
        suite.same(real(got, place), real(want, index), "media in another order encode the same")


def _check_autocast(suite: _Suite) -> None:
    want = suite.encode(suite.media, [0, 1, -1])
    with torch.autocast("cpu", torch.bfloat16):
        got = suite.encode(suite.media, [0, 1, -1])
    assert torch.equal(got.mask_BT, want.mask_BT), "bf16 autocast keeps the mask"
    error = float((got.x_BTD.float() - want.x_BTD).norm() / want.x_BTD.norm())
    assert error < 0.1, f"bf16 autocast differs from fp32 by {error:.3g} of the norm"


_CHECKS: tuple[Callable[[_Suite], None], ...] = (
    _check_shapes,
    _check_determinism,
    _check_content_matters,
    _check_absent,
    _check_padding,
    _check_rows_independent,
    _check_shared,
    _check_order,
    _check_autocast,
)


def _check_round_trip(suite: _Suite, make_encoder: MakeEncoder) -> None:
    saved = {name: tensor.clone() for name, tensor in suite.encoder.state_dict().items()}
    fresh = make_encoder()
    assert isinstance(fresh, nn.Module)
    fresh.load_state_dict(saved)
    want = suite.encode(suite.media, [0, 1, 2, -1])
    got = fresh.eval()(replace(suite.media, row_B=torch.tensor([0, 1, 2, -1])))
    assert torch.equal(got.x_BTD, want.x_BTD), "a fresh encoder that loads the state dict encodes the same"


def _check_counting(suite: _Suite, make_encoder: MakeEncoder) -> None:
    """What is counted does not depend on how rows are cut into batches, shared and missing media included."""
    if not isinstance(suite.encoder, CountingEncoder):
        return
    rows = [2, 0, 1, 0, -1, 3, 2]
    token_BT = torch.tensor([[BOS, EOS + 2 + max(row, 0) % 2, EOS] for row in rows])
    counted = []
    for size in (len(rows), 3, 1):
        encoder: Any = make_encoder()
        encoder.load_state_dict(suite.encoder.state_dict())
        encoder.fit(
            (_compact(suite.media, rows[first : first + size]), token_BT[first : first + size])
            for first in range(0, len(rows), size)
        )
        counted.append(encoder.eval())
    want = suite.rows_by(counted[0])
    for encoder in counted[1:]:
        for row, x_TD in enumerate(suite.rows_by(encoder)):
            suite.same(x_TD, want[row], "what is counted does not depend on the batches that it comes in")


def _compact(media: MediaBatch, rows: Sequence[int]) -> MediaBatch:
    """Return a batch of these rows with the media that they use alone, padded to the longest of them."""
    used = sorted(set(rows) - {-1})
    row_B = torch.tensor([used.index(row) if row >= 0 else -1 for row in rows])
    values, mask_UT = media.values[used], None if media.mask_UT is None else media.mask_UT[used]
    if mask_UT is not None:
        longest = int(mask_UT.sum(1).max()) if used else 0
        values, mask_UT = values[:, :longest], mask_UT[:, :longest]
    return MediaBatch(values, mask_UT, row_B)


def _check_rows_independent_in_training(suite: _Suite) -> None:
    """In training too, one medium's encoding does not depend on another (batch normalisation excepted)."""
    if any(isinstance(module, _BatchNorm) for module in suite.encoder.modules()):
        return
    values = suite.media.values.clone()
    values[1] = values[0]
    results = []
    for media in (suite.media, replace(suite.media, values=values)):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)  # the same dropout for both
            suite.encoder.train()
            results.append(suite.encode(media, [0, 1, 2, 3]))
    suite.encoder.eval()
    for row in (0, 2, 3):
        suite.same(real(results[1], row), real(results[0], row), "in training, a medium does not change another's")


def _check_gradients(suite: _Suite) -> None:
    """Every parameter that is not frozen learns, the absent token too, and that from absent rows alone."""
    parameters = {name: p for name, p in suite.encoder.named_parameters() if p.requires_grad}
    suite.encoder.train()
    encoded = suite.encode(suite.media, [0, 1, 2, 3, -1])
    weight_BTD = torch.randn_like(encoded.x_BTD) * encoded.mask_BT[..., None]
    gradients = torch.autograd.grad(
        (encoded.x_BTD * weight_BTD).sum(), list(parameters.values()), allow_unused=True
    )
    for name, gradient in zip(parameters, gradients, strict=True):
        assert gradient is not None, f"a gradient reaches '{name}'"
        assert gradient.isfinite().all(), f"the gradient of '{name}' is finite"
        assert (gradient != 0).any(), f"the gradient of '{name}' is not zero"
    suite.encoder.zero_grad()
    for media in (suite.media, suite.no_media):
        absent = suite.encode(media, [-1, -1])
        reached = torch.autograd.grad(absent.x_BTD.sum(), list(parameters.values()), allow_unused=True)
        assert any(g is not None and (g != 0).any() for g in reached), "the absent token is learned"
    suite.encoder.eval()
