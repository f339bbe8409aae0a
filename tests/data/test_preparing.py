"""Items are prepared one by one without asking each time what their preparer can."""

from __future__ import annotations

import torch
from torch import Tensor

from sensorium.data.preparing import prepare_all


class Lengths:
    """Makes a text its length; counts how often it is asked for what it does not have."""

    num_asked = 0

    def __call__(self, item: object) -> Tensor:
        return torch.tensor([len(str(item))])

    def __getattr__(self, name: str) -> object:
        type(self).num_asked += 1
        raise AttributeError(name)


class Cutting(Lengths):
    truncated = 0

    def __call__(self, item: object) -> Tensor:
        self.truncated += len(str(item)) > 3
        return super().__call__(str(item)[:3])


def test_what_a_preparer_can_is_asked_once_whatever_the_number_of_items() -> None:
    asked = []
    for num_items in (1, 50):
        Lengths.num_asked = 0
        assert len(list(prepare_all(["ab"] * num_items, Lengths()))) == num_items  # type: ignore[arg-type]
        asked.append(Lengths.num_asked)
    assert asked[0] == asked[1]


def test_each_item_says_whether_it_was_cut() -> None:
    found = list(prepare_all(["ab", "abcd", "abc", "abcde"], Cutting()))  # type: ignore[arg-type]
    assert [one.is_cut for one in found] == [False, True, False, True]
