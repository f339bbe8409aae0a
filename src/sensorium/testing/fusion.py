"""The contract of every fusion, as one call: `check_fusion(make_fusion)`.

Enters: a function that makes a fresh fusion of named inputs.  Leaves: nothing, or an AssertionError that names the
broken promise.  A third party runs it on its own fusion:

    def test_contract() -> None:
        check_fusion(lambda names, width: MyFusion(MyFusion.Config(), names, width))
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.errors import ModelError
from sensorium.core.protocols import Fusion
from sensorium.core.pytree import select
from sensorium.core.types import Conditioning, Encoded

MakeFusion = Callable[[Sequence[str], int], Fusion]

_NAMES = ("sound", "photo", "note", "clip")
_LENGTHS = {"sound": 5, "photo": 3, "note": 4, "clip": 3}


def check_fusion(make_fusion: MakeFusion, *, width: int = 16, tolerance: float = 1e-4, seed: int = 0) -> None:
    """Assert everything that scorers and training rely on, for one to four inputs.

    Args:
        make_fusion: makes a fresh fusion, an nn.Module, of the inputs named, at a width.
        width: D.
        tolerance: allowed difference, relative to the largest value.
        seed: of weights and parts; the global generator is left as it was.

    Raises:
        AssertionError: naming the promise that does not hold.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for num_parts in (4, 3, 2, 1):
            names = _NAMES[:num_parts]
            suite = _Suite(make_fusion, names, width, tolerance)
            with torch.no_grad():
                for check in _CHECKS:
                    check(suite)
            if num_parts > 1:  # a fusion of one part may have parameters that choose between parts
                _check_gradients(suite)


class _Suite:
    """One fusion in evaluation mode, and parts whose rows cover every combination of presence."""

    def __init__(self, make_fusion: MakeFusion, names: Sequence[str], width: int, tolerance: float) -> None:
        fusion = make_fusion(names, width)
        assert isinstance(fusion, nn.Module), "a fusion is an nn.Module"
        self.fusion: nn.Module = fusion.eval()
        self.make_fusion, self.names, self.width, self.tolerance = make_fusion, names, width, tolerance
        self.setting = f"with {len(names)} input{'s' * (len(names) > 1)}"
        self.presence = list(itertools.product([True, False], repeat=len(names)))
        present_KB = torch.tensor(self.presence).T
        self.parts = {
            name: make_part(present_B, _LENGTHS[name], width)
            for name, present_B in zip(names, present_KB, strict=True)
        }
        self.cond = self.fuse(self.parts)

    def fuse(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse."""
        cond: Conditioning = self.fusion(parts)
        return cond

    def same(self, got: Tensor, want: Tensor, promise: str) -> None:
        """Assert equality within tolerance, relative to the largest value."""
        assert got.shape == want.shape, f"{promise} {self.setting}: {tuple(got.shape)}, not {tuple(want.shape)}"
        assert not got.isnan().any(), f"{promise} {self.setting}: NaN"
        gap = float((got - want).abs().max()) / max(1.0, float(want.abs().max()))
        assert gap <= self.tolerance, f"{promise} {self.setting}: values differ by {gap:.3g} of the largest"

    def same_rows(self, got: Conditioning, want: Conditioning, promise: str) -> None:
        """Assert that each row has the same real positions."""
        for row in range(want.num_rows):
            self.same(_real(got, row), _real(want, row), promise)


def make_part(present_B: Tensor, length: int, width: int) -> Encoded:
    """Make an encoding of random rows of different lengths; absent ones share one absent token."""
    num_rows = len(present_B)
    length_B = torch.where(present_B, 1 + (1 + torch.arange(num_rows)) % length, 1)
    mask_BT = torch.arange(length) < length_B[:, None]
    x_BTD = torch.where(present_B[:, None, None], torch.randn(num_rows, length, width), torch.randn(width))
    return Encoded(torch.where(mask_BT[..., None], x_BTD, 0), mask_BT, present_B)


def _real(cond: Conditioning, row: int) -> Tensor:
    return cond.memory.x_BTD[row][cond.memory.mask_BT[row]]


def _check_shapes(suite: _Suite) -> None:
    memory, num_rows = suite.cond.memory, len(suite.presence)
    assert memory.x_BTD.ndim == 3, f"memory has axes B, M, D, not {tuple(memory.x_BTD.shape)}"
    assert memory.x_BTD.shape[::2] == (num_rows, suite.width), f"memory is (B, M, width) {suite.setting}"
    assert suite.fusion.width == suite.width, "a fusion says its width"
    assert memory.mask_BT.shape == memory.x_BTD.shape[:2], "the mask has axes B, M"
    assert memory.mask_BT.dtype == torch.bool, "the mask is bool"
    assert memory.mask_BT.any(1).all(), f"every row has a real position {suite.setting}, an all-absent one too"
    assert memory.x_BTD.isfinite().all(), f"memory is finite {suite.setting}, padding and absent rows included"
    assert memory.present_B.tolist() == [any(row) for row in suite.presence], "a row is present if any part is"
    assert suite.cond.parts.keys() == set(suite.names), "the parts are handed on"
    assert all(len(tensor) == num_rows for tensor in suite.cond.evidence.values()), "evidence has rows first"


def _check_padding(suite: _Suite) -> None:
    """Masked positions, wherever they stand and whatever they hold, change nothing."""
    for before, after, garbage in ((0, 3, 1e3), (2, 1, 1e3), (1, 1, torch.nan)):
        parts = {name: with_garbage(part, before, after, garbage) for name, part in suite.parts.items()}
        suite.same_rows(suite.fuse(parts), suite.cond, f"{before} + {after} padding of {garbage} changes nothing")


def _check_rows_independent(suite: _Suite) -> None:
    for row in range(suite.cond.num_rows):
        alone = suite.fuse({name: select(part, torch.tensor([row])) for name, part in suite.parts.items()})
        suite.same(_real(alone, 0), _real(suite.cond, row), "a row alone is fused as in its batch")
    order = torch.arange(suite.cond.num_rows).flip(0).repeat_interleave(2)
    turned = suite.fuse({name: select(part, order) for name, part in suite.parts.items()})
    for place, row in enumerate(order.tolist()):
        suite.same(_real(turned, place), _real(suite.cond, row), "rows in another order are fused to the same")


def _check_no_rows(suite: _Suite) -> None:
    nobody = suite.fuse(
        {name: select(part, torch.zeros(0, dtype=torch.int64)) for name, part in suite.parts.items()}
    )
    assert nobody.memory.x_BTD.shape[::2] == (0, suite.width), f"a batch without rows is fused {suite.setting}"


def _check_order(suite: _Suite) -> None:
    """The order in which parts come does not matter; their names do."""
    backwards = dict(reversed(suite.parts.items()))
    suite.same_rows(suite.fuse(backwards), suite.cond, "parts in another order fuse to the same")


def _check_every_part_counts(suite: _Suite) -> None:
    """Where a part is present, what it says changes the memory."""
    for k, name in enumerate(suite.names):
        part = suite.parts[name]
        other = Encoded(
            torch.where(part.mask_BT[..., None], torch.randn_like(part.x_BTD), 0), part.mask_BT, part.present_B
        )
        cond = suite.fuse({**suite.parts, name: other})
        for row, present in enumerate(suite.presence):
            changed = not torch.allclose(_real(cond, row), _real(suite.cond, row), atol=suite.tolerance)
            assert changed or not present[k], f"'{name}' counts where present {suite.setting}"


def _check_absent_parts(suite: _Suite) -> None:
    """What stands for an absent part changes nothing, or is read, as the fusion says."""
    ignores = getattr(suite.fusion, "ignores_absent", False)
    some_present_B = torch.tensor([any(row) for row in suite.presence])
    changed = False
    for part_name, part in suite.parts.items():
        absent_B11 = ~part.present_B[:, None, None]
        x_BTD = torch.where(
            part.mask_BT[..., None] & absent_B11, part.x_BTD + 10 * torch.randn(suite.width), part.x_BTD
        )
        cond = suite.fuse({**suite.parts, part_name: Encoded(x_BTD, part.mask_BT, part.present_B)})
        for row in range(cond.num_rows):
            if part.present_B[row] or (ignores and some_present_B[row]):
                suite.same(_real(cond, row), _real(suite.cond, row), f"an absent '{part_name}' changes nothing")
            else:
                changed |= not torch.allclose(_real(cond, row), _real(suite.cond, row), atol=suite.tolerance)
    assert changed or ignores, f"some absent token is read {suite.setting}, or say ignores_absent = True"


def _check_missing_part(suite: _Suite) -> None:
    first, *rest = suite.names
    for parts in ({name: suite.parts[name] for name in rest}, {**suite.parts, "stranger": suite.parts[first]}):
        try:
            suite.fuse(parts)
        except ModelError:
            continue
        raise AssertionError("a missing part, or one too many, is a ModelError")


def _check_round_trip(suite: _Suite) -> None:
    fresh = suite.make_fusion(suite.names, suite.width)
    assert isinstance(fresh, nn.Module)
    fresh.load_state_dict({name: tensor.clone() for name, tensor in suite.fusion.state_dict().items()})
    got = fresh.eval()(suite.parts)
    assert torch.equal(got.memory.x_BTD, suite.cond.memory.x_BTD), "a fresh fusion that loads the state dict agrees"


def _check_autocast(suite: _Suite) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        got = suite.fuse(suite.parts).memory.x_BTD.float()
    want = suite.cond.memory.x_BTD
    error = float((got - want).norm() / want.norm())
    assert error < 0.1, f"bf16 autocast differs from fp32 by {error:.3g} of the norm {suite.setting}"


_CHECKS: tuple[Callable[[_Suite], None], ...] = (
    _check_shapes,
    _check_padding,
    _check_rows_independent,
    _check_no_rows,
    _check_order,
    _check_every_part_counts,
    _check_absent_parts,
    _check_missing_part,
    _check_round_trip,
    _check_autocast,
)


def _check_gradients(suite: _Suite) -> None:
    """Every parameter learns, and so does every part where it is present and real; padding gets nothing."""
    parts = {
        name: Encoded(part.x_BTD.clone().requires_grad_(), part.mask_BT, part.present_B)
        for name, part in suite.parts.items()
    }
    memory = suite.fuse(parts).memory
    parameters = dict(suite.fusion.named_parameters())
    weight_BMD = torch.randn_like(memory.x_BTD) * memory.mask_BT[..., None]
    leaves = [*parameters.values(), *(part.x_BTD for part in parts.values())]
    gradients = torch.autograd.grad((memory.x_BTD * weight_BMD).sum(), leaves, allow_unused=True)
    for name, gradient in zip([*parameters, *suite.names], gradients, strict=True):
        assert gradient is not None, f"a gradient reaches '{name}' {suite.setting}"
        assert gradient.isfinite().all(), f"the gradient of '{name}' is finite {suite.setting}"
        assert (gradient != 0).any(), f"the gradient of '{name}' is not zero {suite.setting}"
    for name, gradient in zip(suite.names, gradients[len(parameters) :], strict=True):
        part = suite.parts[name]
        reached_BT = (gradient != 0).any(-1)
        assert not (reached_BT & ~part.mask_BT).any(), f"padding of '{name}' gets no gradient {suite.setting}"
        wanted_BT = part.mask_BT & part.present_B[:, None]
        assert reached_BT[wanted_BT].all(), f"every real position of '{name}' gets a gradient {suite.setting}"
        if getattr(suite.fusion, "ignores_absent", False):
            some_B = torch.tensor([any(row) for row in suite.presence])
            ignored_BT = (~part.present_B & some_B)[:, None] & part.mask_BT
            assert not reached_BT[ignored_BT].any(), f"an absent '{name}' gets no gradient {suite.setting}"


def with_garbage(part: Encoded, before: int, after: int, garbage: float) -> Encoded:
    """Add masked positions of `garbage` in front and behind, and fill the masked ones that are there."""
    x_BTD = torch.where(part.mask_BT[..., None], part.x_BTD, garbage)
    mask_BT = functional.pad(part.mask_BT, (before, after), value=False)
    return Encoded(functional.pad(x_BTD, (0, 0, before, after), value=garbage), mask_BT, part.present_B)
