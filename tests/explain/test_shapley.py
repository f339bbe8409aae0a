"""Shapley values: the definition over orderings, what they add up to, and that a medium is encoded once."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import ConfigError, UsageError
from sensorium.core.types import Batch
from sensorium.explain.scorers import answer_ids
from sensorium.explain.shapley import (
    contributions,
    mean_contributions,
    patterns,
    rows_at_once,
    shapley_matrix,
)
from sensorium.explain.values import load_value
from sensorium.workflow.explaining import mean_over


def by_orderings(value_P: list[float], num_inputs: int) -> list[float]:
    """Average each input's gain over every order in which inputs may come."""
    totals = [0.0] * num_inputs
    for order in itertools.permutations(range(num_inputs)):
        shown = 0
        for k in order:
            totals[k] += value_P[shown | 1 << k] - value_P[shown]
            shown |= 1 << k
    return [total / math.factorial(num_inputs) for total in totals]


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(0, 2**31))
def test_the_matrix_is_the_mean_over_orderings(num_inputs: int, seed: int) -> None:
    value_P = np.random.default_rng(seed).normal(size=2**num_inputs).tolist()
    phi_m = shapley_matrix(num_inputs) @ torch.tensor(value_P, dtype=torch.float64)
    assert phi_m.tolist() == pytest.approx(by_orderings(value_P, num_inputs))
    assert float(phi_m.sum()) == pytest.approx(value_P[-1] - value_P[0])


def test_patterns_count_up_in_bits() -> None:
    assert patterns(2).tolist() == [[False, False], [True, False], [False, True], [True, True]]


@pytest.mark.parametrize("value", ["log_p", "probability"])
def test_a_row_against_subsets_given_one_by_one(senses, seen_row, value) -> None:
    predictor = senses.predictor
    batch, ids = predictor.batch([seen_row]), answer_ids(predictor.model, "green")
    got = contributions(predictor.model, batch, [ids], value)[0]
    one_by_one = []
    for shown in patterns(3).tolist():
        names = frozenset(name for name, is_shown in zip(got.names, shown, strict=True) if is_shown)
        if names:
            log_p = predictor.score([{name: seen_row[name] for name in names}], ["green"])[0]
            one_by_one.append(log_p if value == "log_p" else math.exp(log_p))
        else:
            one_by_one.append(got.empty)
        assert got.only(names) == pytest.approx(one_by_one[-1], abs=1e-4)
    assert list(got.shapley.values()) == pytest.approx(by_orderings(one_by_one, 3), abs=1e-4)
    assert sum(got.shapley.values()) == pytest.approx(got.full - got.empty, abs=1e-9)
    by_token = [sum(by_input[name] for _, by_input in got.tokens) for name in got.names]
    if value == "log_p":
        assert by_token == pytest.approx(list(got.shapley.values()), abs=1e-6)
    assert [token for token, _ in got.tokens] == ["green", "</s>"]


def test_rows_together_are_rows_alone_and_a_missing_input_gave_nothing(senses, seen_row) -> None:
    predictor = senses.predictor
    rows = [seen_row, {"question": "is it red?"}, {"photo": seen_row["photo"]}]
    ids = [answer_ids(predictor.model, text) for text in ("green", "no", "high")]
    together = contributions(predictor.model, predictor.batch(rows), ids)
    for row, answer, got in zip(rows, ids, together, strict=True):
        alone = contributions(predictor.model, predictor.batch([row]), [answer])[0]
        assert got.facts()["shapley"] == pytest.approx(alone.facts()["shapley"], abs=1e-4)
        for name in set(got.names) - set(row):
            assert got.shapley[name] == pytest.approx(0, abs=1e-6)
    mean = mean_contributions(together)
    assert mean.num_rows == 3
    assert mean.shapley["question"] == pytest.approx(np.mean([row.shapley["question"] for row in together]))
    assert sum(mean.shapley.values()) == pytest.approx(mean.full - mean.empty)


def test_every_medium_is_encoded_once_for_all_patterns(senses, seen_row) -> None:
    predictor, seen = senses.predictor, []
    encoders = predictor.model.encoders.values()
    handles = [e.register_forward_pre_hook(lambda _, args: seen.append(len(args[0].values))) for e in encoders]
    try:
        ids = answer_ids(predictor.model, "green")
        contributions(predictor.model, predictor.batch([seen_row, seen_row]), [ids, ids])
    finally:
        for handle in handles:
            handle.remove()
    assert seen == [1, 1, 1]


def test_the_mean_over_a_table_is_the_mean_of_its_rows(senses, senses_folder, monkeypatch) -> None:
    corpus = senses._judged_rows(*senses._asked(None), senses_folder / "senses.csv")
    whole = mean_over(senses.predictor.model, corpus, max_rows=7)
    monkeypatch.setattr("sensorium.explain.shapley.ROWS_AT_ONCE", 16)
    assert rows_at_once(3) == 2
    parts = mean_over(senses.predictor.model, corpus, max_rows=7)
    assert whole.num_rows == parts.num_rows == 7
    assert parts.facts()["shapley"] == pytest.approx(whole.facts()["shapley"], abs=1e-4)


def test_what_cannot_be_shared_out(senses) -> None:
    row_B = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(UsageError, match="nothing to share out"):
        contributions(senses.predictor.model, Batch(row_B, {}), [[4]])
    with pytest.raises(UsageError, match="2\\^13"):
        contributions(senses.predictor.model, Batch(row_B, {str(i): None for i in range(13)}), [[4]])
    with pytest.raises(ConfigError, match="did you mean 'log_p'"):
        load_value("logp")
    with pytest.raises(UsageError, match="no rows"):
        mean_contributions([])
