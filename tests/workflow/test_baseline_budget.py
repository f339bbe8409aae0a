"""Baselines judge what their time suffices for, and are compared with the model on these rows."""

import math

import pytest

from sensorium.workflow.baselines import Baseline, differences
from sensorium.workflow.judging_time import BaselinesTime, cut_note, judged_rows, part_judged


def test_a_baseline_of_some_rows_is_compared_on_these():
    model = {row: float(row % 2) for row in range(40)}
    some = Baseline("some", 20, {}, None, dict.fromkeys(range(20), 0.0))
    other = Baseline("other rows", 2, {}, None, {100: 1.0, 101: 0.0})
    first, second = differences(model, [some, other])
    assert first is not None
    assert first.mean == pytest.approx(0.5)
    assert second is None


def test_two_that_judged_different_rows_are_compared_on_those_of_both():
    model = {row: float(row % 2) for row in range(20)}
    [found] = differences(model, [Baseline("some", 20, {}, None, dict.fromkeys(range(10, 30), 0.0))])
    assert found is not None
    assert found.mean == pytest.approx(0.5)
    [alike] = differences(model, [Baseline("all", 30, {}, None, {row: model.get(row, 9.0) for row in range(30)})])
    assert alike is not None
    assert alike.mean == 0.0


def test_baselines_share_what_time_there_is():
    left = BaselinesTime.after(20.0, 4.0, 3)
    assert left.next() == pytest.approx(1.0)
    left.took(0.2)
    assert left.next() == pytest.approx(1.4)
    assert BaselinesTime.after(20.0, 1.0, 3).next() == pytest.approx(2.0)  # what the model left is theirs
    assert BaselinesTime.after(math.inf, 1.0, 3).next() == math.inf


def test_a_run_says_of_which_rows_its_figures_are():
    cut = {"judged_on": "test", "rows": 120, "not_judged": 225, "seconds": {"evaluation": 4.0}, "run": "runs/a"}
    assert judged_rows(cut) == "120 of 345 test rows, as many as there was time for"
    assert part_judged(cut) == "of 345 test"
    assert "`sensorium evaluate runs/a` judges all" in (cut_note(cut) or "")
    assert judged_rows({**cut, "not_judged": 0}) == "the test rows"
    assert cut_note({**cut, "not_judged": 0}) is None
