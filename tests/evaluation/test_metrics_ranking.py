"""Ranks and what is made of them, against sorting and counting by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.evaluation.metrics_ranking import ranking_metrics, ranks


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(2, 9))
def test_ranks_are_those_of_sorting_with_ties_against_the_model(seed: int, num: int, candidates: int) -> None:
    random = torch.Generator().manual_seed(seed)
    score_QN = torch.randint(0, 4, (num, candidates), generator=random).float()
    is_right_QN = torch.rand(num, candidates, generator=random) < 0.4
    is_right_QN[:, 0] |= ~is_right_QN.any(1)
    for score_N, right_N, rank_R in zip(score_QN, is_right_QN, ranks(score_QN, is_right_QN), strict=True):
        order = sorted(range(candidates), key=lambda i: (-float(score_N[i]), bool(right_N[i])))
        assert rank_R.tolist() == [place + 1 for place, i in enumerate(order) if right_N[i]]


def test_a_model_that_says_the_same_of_all_finds_nothing() -> None:
    assert [r.tolist() for r in ranks(torch.zeros(1, 20), torch.arange(20)[None] == 3)] == [[20]]


def test_metrics_by_hand() -> None:
    found = ranking_metrics([torch.tensor([1]), torch.tensor([4]), torch.tensor([11])])
    assert found == {
        "recall_at_1": pytest.approx(1 / 3),
        "recall_at_5": pytest.approx(2 / 3),
        "recall_at_10": pytest.approx(2 / 3),
        "median_rank": 4.0,
    }


def test_several_right_answers_have_precision_and_f1() -> None:
    # Two of two found among five, then one of three.
    found = ranking_metrics([torch.tensor([1, 5]), torch.tensor([2, 6, 9])])
    assert found["precision_at_5"] == pytest.approx((2 / 5 + 1 / 5) / 2)
    by_hand = [2 * p * r / (p + r) for p, r in ((2 / 5, 2 / 2), (1 / 5, 1 / 3))]
    assert found["f1_at_5"] == pytest.approx(sum(by_hand) / 2)
    assert found["median_rank"] == 1.5


def test_queries_that_cannot_be_judged() -> None:
    with pytest.raises(DataError, match="no right answer"):
        ranks(torch.zeros(2, 3), torch.tensor([[True, False, False], [False] * 3]))
    with pytest.raises(DataError, match="no queries"):
        ranking_metrics([])
