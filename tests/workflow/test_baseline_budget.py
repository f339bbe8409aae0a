"""Baselines judge what their time suffices for, and are compared with the model on these rows."""

import pytest

from sensorium.workflow.baselines import Baseline, differences


def test_a_baseline_of_some_rows_is_compared_on_these():
    model = {row: float(row % 2) for row in range(40)}
    some = Baseline("some", 20, {}, None, dict.fromkeys(range(20), 0.0))
    other = Baseline("other rows", 2, {}, None, {100: 1.0, 101: 0.0})
    first, second = differences(model, [some, other])
    assert first is not None
    assert first.mean == pytest.approx(0.5)
    assert second is None
