"""A judged row as a card."""

import pytest

from sensorium.report.facts import Row
from sensorium.report.row_cards import row_card


@pytest.mark.parametrize("is_bound", [True, False])
def test_a_probability_that_is_a_bound_says_so(is_bound):
    row = Row(
        where="t.csv:2",
        inputs=[],
        expected=["a"],
        answer="a",
        probability=0.5,
        score=1.0,
        alternatives=[("a", 0.5), ("b", 0.25)],
        is_bound=is_bound,
    )
    assert str(row_card(row)).count("at least ") == 2 * is_bound
