"""The shared types: rows that share media, rows with holes, averages over what is real."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.types import Batch, Conditioning, Encoded, Media, MediaBatch, per_row


def test_a_medium_has_a_path_or_bytes():
    assert str(Media(path=Path("a.jpg"))) == "'a.jpg'"
    assert str(Media(data=b"abc")) == "<3 bytes>"
    for wrong in ({}, {"path": Path("a"), "data": b""}):
        with pytest.raises(ValueError, match="either a path or data"):
            Media(**wrong)


@given(
    num_media=st.integers(0, 3), length=st.integers(0, 3), num_rows=st.integers(0, 5), masked=st.booleans(), data=st.data()
)  # fmt: skip
def test_each_row_gets_its_medium_or_the_absent_token(num_media, length, num_rows, masked, data):
    row_B = torch.tensor(
        data.draw(st.lists(st.integers(-1, num_media - 1), min_size=num_rows, max_size=num_rows)), dtype=torch.int64
    )
    x_UTD = torch.randn(num_media, length, 2)
    mask_UT = torch.rand(num_media, length) < 0.5 if masked else None
    absent_D = torch.randn(2)
    encoded = per_row(x_UTD, mask_UT, row_B, absent_D)
    assert len(encoded.x_BTD) == num_rows
    for row, medium in enumerate(row_B.tolist()):
        got = encoded.x_BTD[row][encoded.mask_BT[row]]
        if medium < 0 or length == 0:
            assert torch.equal(got, absent_D[None])
            assert not encoded.present_B[row]
        else:
            assert torch.equal(got, x_UTD[medium] if mask_UT is None else x_UTD[medium][mask_UT[medium]])
            assert encoded.present_B[row]
        assert not encoded.x_BTD[row][~encoded.mask_BT[row]].any()


def test_the_absent_token_learns_from_absent_rows_alone():
    absent_D, x_UTD = torch.zeros(2, requires_grad=True), torch.randn(2, 3, 2, requires_grad=True)
    per_row(x_UTD, None, torch.tensor([-1, 0, 0, -1]), absent_D).x_BTD.sum().backward()
    assert absent_D.grad.tolist() == [2, 2]
    assert x_UTD.grad.sum((1, 2)).tolist() == [12, 0]


def test_the_mean_is_over_what_is_real():
    x_BTD = torch.tensor([[[2.0], [4.0], [float("nan")]], [[1.0], [1.0], [1.0]]])
    mask_BT = torch.tensor([[True, True, False], [False, False, False]])
    assert Encoded(x_BTD, mask_BT, mask_BT.any(1)).mean_BD().tolist() == [[3.0], [0.0]]


def test_empty_conditioning_has_rows_and_no_positions():
    cond = Conditioning.empty(3, width=2)
    assert cond.num_rows == 3
    assert cond.memory.x_BTD.shape == (3, 0, 2)
    assert cond.memory.mean_BD().shape == (3, 2)


def test_only_hides_the_other_inputs():
    media = MediaBatch(torch.zeros(1, 2), None, torch.tensor([0, 0, -1]))
    batch = Batch(torch.arange(3), {"photo": media, "question": media})
    shown = batch.only(frozenset({"photo"}))
    assert shown.inputs["photo"].row_B.tolist() == [0, 0, -1]
    assert shown.inputs["question"].row_B.tolist() == [-1, -1, -1]
    assert batch.inputs["question"].row_B.tolist() == [0, 0, -1]
    moved = shown.to(torch.device("meta"))
    assert moved.inputs["photo"].values.is_meta
    assert moved.num_rows == 3
