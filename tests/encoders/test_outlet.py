"""Handing media to rows: `per_row` and `Outlet` against a loop."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.types import per_row
from sensorium.encoders.outlet import Outlet

ABSENT_D = torch.tensor([7.0, 8.0])


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_per_row_is_a_loop(data: st.DataObject) -> None:
    num_media, length = data.draw(st.integers(0, 4)), data.draw(st.integers(1, 5))
    rows = data.draw(st.lists(st.integers(-1, num_media - 1), max_size=6))
    lengths = data.draw(st.lists(st.integers(1, length), min_size=num_media, max_size=num_media))
    x_UTD = torch.randn(num_media, length, 2)
    mask_UT = torch.arange(length) < torch.tensor(lengths, dtype=torch.int64)[:, None]
    encoded = per_row(x_UTD, mask_UT, torch.tensor(rows, dtype=torch.int64), ABSENT_D)
    assert len(encoded.present_B) == len(rows)
    for b, u in enumerate(rows):
        real = encoded.x_BTD[b][encoded.mask_BT[b]]
        assert torch.equal(real, ABSENT_D[None] if u < 0 else x_UTD[u, : lengths[u]])
        assert (encoded.x_BTD[b][~encoded.mask_BT[b]] == 0).all()
        assert bool(encoded.present_B[b]) == (u >= 0)


def test_per_row_hides_what_stands_in_padding() -> None:
    x_UTD = torch.tensor([[[1.0, 2.0], [float("nan"), float("inf")]]], requires_grad=True)
    encoded = per_row(x_UTD, torch.tensor([[True, False]]), torch.tensor([0, 0]), ABSENT_D)
    assert encoded.x_BTD.tolist() == [[[1, 2], [0, 0]]] * 2
    encoded.x_BTD.sum().backward()
    assert x_UTD.grad is not None
    assert x_UTD.grad.tolist() == [[[2, 2], [0, 0]]]


def test_per_row_without_mask_or_without_length() -> None:
    full = per_row(torch.ones(1, 3, 2), None, torch.tensor([0, -1]), ABSENT_D)
    assert full.mask_BT.tolist() == [[True, True, True], [True, False, False]]
    empty = per_row(torch.ones(2, 0, 2), torch.ones(2, 0, dtype=torch.bool), torch.tensor([0, 1]), ABSENT_D)
    assert empty.present_B.tolist() == [False, False]
    assert empty.x_BTD.tolist() == [[[7, 8]], [[7, 8]]]


def test_per_row_never_reads_a_medium_for_an_absent_row() -> None:
    x_UTD = torch.full((2, 1, 2), float("nan"))
    assert per_row(x_UTD, None, torch.tensor([-1]), ABSENT_D).x_BTD.tolist() == [[[7, 8]]]


def test_outlet_adds_positions_after_projection() -> None:
    torch.manual_seed(0)
    outlet = Outlet(3, 2, num_positions=4, norm=False)
    x_UTF = torch.randn(2, 4, 3)
    got = outlet(x_UTF, None, torch.tensor([1])).x_BTD[0]
    assert outlet.position_TD is not None
    torch.testing.assert_close(got, x_UTF[1] @ outlet.project.weight.T + outlet.project.bias + outlet.position_TD)


def test_outlet_normalises_features_of_any_scale() -> None:
    torch.manual_seed(0)
    outlet = Outlet(16, 4)
    x_UTF = torch.randn(2, 3, 16)
    rows = torch.tensor([0, 1])
    torch.testing.assert_close(
        outlet(x_UTF, None, rows).x_BTD, outlet(x_UTF * 1000, None, rows).x_BTD, rtol=1e-3, atol=1e-3
    )
