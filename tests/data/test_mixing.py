"""Shares of batches by temperature, and an order that knows where it is from the epoch and the number alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.types import Batch
from sensorium.data.mixing import TaskLoader, quotas


class Numbered:
    """Batches that say which epoch and number they are."""

    def __init__(self, num_batches: int) -> None:
        self.num_batches = num_batches

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        for number in range(start_batch, self.num_batches):
            yield Batch(torch.tensor([epoch, number]), {})


def seen(loader: TaskLoader, epoch: int, start: int = 0) -> list[tuple[str, int, int]]:
    return [(batch.task, *batch.row_id_B.tolist()) for batch in loader.epoch(epoch, start)]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=6), st.floats(1, 100))
def test_shares_add_up_and_none_is_empty(sizes: list[int], temperature: float) -> None:
    quota_K = quotas(np.array(sizes), temperature)
    assert quota_K.sum() == sum(sizes)
    assert quota_K.min() >= 1


@given(st.lists(st.integers(1, 500), min_size=1, max_size=6))
def test_temperature_one_is_every_batch_once(sizes: list[int]) -> None:
    assert quotas(np.array(sizes), 1.0).tolist() == sizes


def test_shares_follow_the_temperature() -> None:
    # 900^(1/2) : 100^(1/2) = 3 : 1, and a very high temperature draws all alike.
    assert quotas(np.array([900, 100]), 2.0) == pytest.approx([750, 250], abs=1)
    assert quotas(np.array([900, 100]), 1e6).tolist() == [500, 500]
    with pytest.raises(ValueError, match="no batch"):
        quotas(np.array([3, 0]), 1.0)


def test_an_epoch_holds_every_tasks_share_in_its_own_order() -> None:
    loader = TaskLoader({"a": Numbered(6), "b": Numbered(2)}, seed=3)
    first, second = seen(loader, 0), seen(loader, 1)
    assert sorted(first) == [("a", 0, i) for i in range(6)] + [("b", 0, i) for i in range(2)]
    assert [task for task, *_ in first] != [task for task, *_ in second]
    assert {epoch for _, epoch, _ in second} == {1}


def test_a_small_task_drawn_often_goes_on_through_its_own_epochs() -> None:
    loader = TaskLoader({"a": Numbered(10), "b": Numbered(2)}, seed=0, temperature=1e6)
    both = seen(loader, 0) + seen(loader, 1)
    for task, size in (("a", 10), ("b", 2)):
        turns = [(epoch, number) for name, epoch, number in both if name == task]
        assert turns == [divmod(i, size) for i in range(12)]
    assert Counter(task for task, *_ in both) == {"a": 12, "b": 12}


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_any_batch_is_where_it_would_have_been(temperature: float) -> None:
    loader = TaskLoader({"a": Numbered(7), "b": Numbered(3), "c": Numbered(1)}, seed=1, temperature=temperature)
    for epoch in (0, 2):
        whole = seen(loader, epoch)
        assert len(whole) == loader.num_batches
        for start in range(len(whole) + 1):
            assert seen(loader, epoch, start) == whole[start:]
