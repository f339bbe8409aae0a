"""The paired bootstrap beside exact answers, and Holm's correction by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.evaluation.paired import holm, paired_bootstrap


def test_bounds_are_those_of_the_normal_limit():
    random = np.random.default_rng(1)
    first, second = random.normal(0.3, 1, 2000), random.normal(0, 1, 2000)
    found = paired_bootstrap(first, second)
    error = (first - second).std() / math.sqrt(2000)
    assert found.mean == pytest.approx(float((first - second).mean()))
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.1 * error)
    assert found.p == pytest.approx(2 / 10_001)


def test_p_is_that_of_the_normal_limit_where_it_is_not_small():
    random = np.random.default_rng(2)
    first = random.normal(0, 1, 1000)
    second = first - random.normal(0.04, 1, 1000)
    z = (first - second).mean() / ((first - second).std() / math.sqrt(1000))
    assert paired_bootstrap(first, second).p == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), abs=0.03)


def test_pairing_sees_what_means_alone_do_not():
    hard = np.random.default_rng(3).normal(0, 10, 400)
    assert paired_bootstrap(hard + 0.5 + np.tile([0.1, -0.1], 200), hard).p < 0.01
    assert paired_bootstrap(np.roll(hard, 7) + 0.5, hard).p > 0.1


def test_equal_systems_do_not_differ():
    assert paired_bootstrap([1.0, 0.0, 1.0], [1.0, 0.0, 1.0]).p == 1.0


@pytest.mark.parametrize(("first", "second"), [([], []), ([1.0], [1.0, 0.0])])
def test_rows_that_do_not_pair_are_refused(first, second):
    with pytest.raises(DataError, match="paired"):
        paired_bootstrap(first, second)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_lies_between_none_and_bonferroni(p_K):
    found = holm(p_K)
    for p, q in zip(p_K, found, strict=True):
        assert p <= q <= min(1.0, p * len(p_K)) + 1e-12
    by_p = [q for _, q in sorted(zip(p_K, found, strict=True))]
    assert by_p == sorted(by_p)
