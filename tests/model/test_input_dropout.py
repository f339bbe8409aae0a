"""Input dropout hides what it says, as often as it says, and never all that a row has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.config import Source
from sensorium.core.errors import ConfigError
from sensorium.core.types import Batch, MediaBatch
from sensorium.model.config import ModelConfig, parse
from sensorium.model.input_dropout import InputDropout

NAMES = ("photo", "question", "speech")


def rows(present: list[tuple[bool, ...]]) -> Batch:
    num = len(present)
    inputs = {
        name: MediaBatch(
            torch.zeros(num, 1), None, torch.tensor([b if row[k] else -1 for b, row in enumerate(present)])
        )
        for k, name in enumerate(NAMES)
    }
    return Batch(torch.arange(num), inputs)


def shown(batch: Batch) -> list[tuple[bool, ...]]:
    is_shown_KB = torch.stack([batch.inputs[name].row_B >= 0 for name in NAMES])
    return [tuple(row) for row in is_shown_KB.T.tolist()]


rates = st.floats(0.0, 0.99)


@given(
    st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=20),
    st.dictionaries(st.sampled_from(NAMES), rates),
    st.dictionaries(st.frozensets(st.sampled_from(NAMES), min_size=1), st.floats(0.0, 0.14)),
    st.integers(0, 2**31),
)
def test_hides_but_never_adds_and_never_hides_all(
    present: list[tuple[bool, ...]], rate: dict[str, float], patterns: dict[frozenset[str], float], seed: int
) -> None:
    torch.manual_seed(seed)
    batch = rows(present)
    after = InputDropout(rate, patterns)(batch)
    for before, now in zip(present, shown(after), strict=True):
        assert all(was or not is_now for was, is_now in zip(before, now, strict=True))
        assert any(now) == any(before)
    for name in NAMES:  # a row keeps its own medium
        kept_B = after.inputs[name].row_B >= 0
        assert (after.inputs[name].row_B[kept_B] == batch.inputs[name].row_B[kept_B]).all()


def test_rates_are_the_share_of_rows_that_lose_an_input() -> None:
    torch.manual_seed(0)
    batch = rows([(True, True, True)] * 20_000)
    after = InputDropout({"question": 0.4, "speech": 0.1}, {})(batch)
    hidden = [1 - sum(row[k] for row in shown(after)) / 20_000 for k in range(3)]
    assert hidden == pytest.approx([0.0, 0.4, 0.1], abs=0.015)


def test_a_pattern_shows_its_inputs_alone_in_rows_that_have_them() -> None:
    torch.manual_seed(0)
    whole, typed = (True, True, True), (True, True, False)
    dropout = InputDropout({}, {frozenset({"photo", "speech"}): 0.5, frozenset({"question"}): 0.2})
    after = shown(dropout(rows([whole] * 10_000 + [typed] * 10_000)))
    assert set(after[:10_000]) == {whole, (True, False, True), (False, True, False)}
    assert after[:10_000].count((True, False, True)) == pytest.approx(5_000, abs=200)
    assert after[:10_000].count((False, True, False)) == pytest.approx(2_000, abs=200)
    assert set(after[10_000:]) == {typed, (False, True, False)}


def test_says_whether_it_does_anything() -> None:
    assert not InputDropout({"photo": 0.0}, {})
    assert InputDropout({"photo": 0.1}, {})
    assert InputDropout({}, {frozenset({"photo"}): 0.1})


def config(**fusion: Any) -> ModelConfig:
    values = {
        "inputs": {
            "photo": {"modality": "image", "encoder": "cnn"},
            "question": {"modality": "text", "encoder": "gru"},
            "caption": {"modality": "text", "encoder": "gru"},
        },
        "target": {"column": "answer"},
        "fusion": fusion,
    }
    return parse(values, Source(), default_tokenizer={"answer": "word"})


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        ({"input_patterns": {"photo+qestion": 0.5}}, "did you mean 'question'"),
        ({"input_dropout": {"foto": 0.5}}, "did you mean 'photo'"),
        ({"input_dropout": 1.0}, "less than 1"),
        ({"input_dropout": {"photo": -0.1}}, "at least 0 and less than 1, not -0.1"),
        ({"input_patterns": {"photo": 0.6, "question": 0.6}}, "within 1"),
        ({"alignment": {"inputs": ["photo"]}}, "at least 2"),
        ({"alignment": {"inputs": ["photo", "photo"]}}, "each input once"),
        ({"alignment": {"inputs": ["photo", "capton"]}}, "did you mean 'caption'"),
        ({"alignment": {"inputs": ["photo", "caption"], "wieght": 2}}, "did you mean 'weight'"),
    ],
)
def test_a_wrong_config_is_told_what_is_wrong(fusion: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**fusion)


def test_fewer_inputs_take_their_rates_patterns_and_alignment_along() -> None:
    whole = config(
        input_dropout={"photo": 0.1, "caption": 0.2},
        input_patterns={"photo+question": 0.3, "caption": 0.1},
        alignment={"inputs": ["photo", "question", "caption"]},
    )
    two, one = whole.only(["photo", "question"]), whole.only(["caption"])
    assert list(two.inputs) == ["photo", "question"]
    assert two.input_dropout == InputDropout({"photo": 0.1}, {frozenset({"photo", "question"}): 0.3})
    assert two.fusion.alignment is not None
    assert two.fusion.alignment.inputs == ("photo", "question")
    assert one.fusion.alignment is None
    assert one.input_dropout == InputDropout({"caption": 0.2}, {frozenset({"caption"}): 0.1})
    assert parse(two.dump(), Source(), default_tokenizer={"answer": "word"}).dump() == two.dump()
