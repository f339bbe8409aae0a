"""States of any nesting: `select` takes rows of every tensor and nothing else."""

from collections import namedtuple
from dataclasses import dataclass

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sensorium.core.pytree import map_tensors, select

Pair = namedtuple("Pair", "left right")
NUM_ROWS = 3


@dataclass(frozen=True, slots=True)
class Box:
    tensor: Tensor
    plain: int | None


def leaf(seed):
    return torch.randn(NUM_ROWS, 2, generator=torch.Generator().manual_seed(seed))


leaves = st.one_of(st.integers(0, 9).map(leaf), st.none(), st.integers(0, 9), st.text(max_size=2))
trees = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.lists(parts, max_size=3),
        st.tuples(parts, parts),
        st.dictionaries(st.text(max_size=2), parts, max_size=2),
        st.builds(Pair, parts, parts),
        st.builds(Box, parts, st.none()),
    ),
    max_leaves=8,
)


def flat(tree):
    """All leaves, and the types on the way to them."""
    if isinstance(tree, Box):
        return [Box, *flat(tree.tensor), *flat(tree.plain)]
    if isinstance(tree, dict):
        return [dict, *tree, *(part for value in tree.values() for part in flat(value))]
    if isinstance(tree, list | tuple):
        return [type(tree), *(part for value in tree for part in flat(value))]
    return [tree]


def same(a, b):
    left, right = flat(a), flat(b)
    return len(left) == len(right) and all(
        torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in zip(left, right, strict=True)
    )


@given(trees, st.lists(st.integers(0, NUM_ROWS - 1), max_size=5))
def test_select_takes_rows_of_tensors_and_keeps_the_rest(tree, rows):
    got, want = flat(select(tree, torch.tensor(rows, dtype=torch.int64))), flat(tree)
    assert len(got) == len(want)
    for chosen, whole in zip(got, want, strict=True):
        if isinstance(whole, Tensor):
            assert torch.equal(chosen, whole[rows])
        else:
            assert chosen == whole


@given(trees)
def test_selecting_all_rows_is_a_copy(tree):
    copied = select(tree, torch.arange(NUM_ROWS))
    assert same(copied, tree)
    map_tensors(copied, lambda tensor: tensor.zero_())
    assert all(x.any() for x in flat(tree) if isinstance(x, Tensor))


@given(trees, st.permutations(range(NUM_ROWS)), st.lists(st.integers(0, NUM_ROWS - 1), min_size=1, max_size=4))
def test_two_selections_are_one(tree, first, second):
    first_N, second_N = torch.tensor(first), torch.tensor(second)
    assert same(select(select(tree, first_N), second_N), select(tree, first_N[second_N]))


def test_a_class_is_a_plain_value():
    assert select(Box, torch.arange(1)) is Box
