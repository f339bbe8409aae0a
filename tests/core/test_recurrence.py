"""Recurrence against torch's packed sequences, and the reversal against Python's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sensorium.core.recurrence import CELLS, Cell, Recurrence, reversed_order


def packed_twin(ours: Recurrence, cell: Cell, bidirectional: bool) -> nn.RNNBase:
    """Make torch's own stack with the same weights."""
    theirs = CELLS[cell](5, 4 if bidirectional else 8, 2, batch_first=True, bidirectional=bidirectional)
    state = {}
    for stack, suffix in ((ours.forward_layers, ""), (ours.backward_layers, "_reverse")):
        for number, layer in enumerate(stack):
            for name, tensor in layer.state_dict().items():
                state[name.replace("_l0", f"_l{number}{suffix}")] = tensor
    theirs.load_state_dict(state)
    return theirs


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_equals_torchs_packed_stack(cell: Cell, bidirectional: bool) -> None:
    torch.manual_seed(0)
    ours = Recurrence(cell, 5, 8, num_layers=2, bidirectional=bidirectional, dropout=0.0)
    theirs = packed_twin(ours, cell, bidirectional)
    length_U = torch.tensor([3, 7, 1, 5])
    mask_UT = torch.arange(9) < length_U[:, None]
    x_UTF = torch.randn(4, 9, 5)
    got = ours(x_UTF, mask_UT)
    packed = pack_padded_sequence(x_UTF, length_U, batch_first=True, enforce_sorted=False)
    want, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True, total_length=9)
    torch.testing.assert_close(got, want)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_reversal_turns_the_real_prefix_and_nothing_else(lengths: list[int]) -> None:
    mask_UT = torch.arange(6) < torch.tensor(lengths)[:, None]
    for order, length in zip(reversed_order(mask_UT).tolist(), lengths, strict=True):
        assert order == [*reversed(range(length)), *range(length, 6)]


def test_dropout_is_between_layers_alone() -> None:
    torch.manual_seed(0)
    mask_UT = torch.ones(2, 3, dtype=torch.bool)
    one, two = (Recurrence("gru", 5, 8, n, True, dropout=0.5).train() for n in (1, 2))
    x_UTF = torch.randn(2, 3, 5)
    assert torch.equal(one(x_UTF, mask_UT), one(x_UTF, mask_UT))
    assert not torch.equal(two(x_UTF, mask_UT), two(x_UTF, mask_UT))
