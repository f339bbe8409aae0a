"""A model without inputs is a language model of its target: trained, gated, saved, asked."""

from __future__ import annotations

import math

import pytest

import sensorium
from sensorium import Sensorium

VERSE = "to be or not to be that is the question whether it is nobler in the mind to suffer the slings "


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Sensorium:
    folder = tmp_path_factory.mktemp("verse")
    (folder / "verse.txt").write_text(VERSE * 100)
    config = {
        "data": {"train": "windows:verse.txt/train", "test": "windows:verse.txt/validation"},
        "inputs": {},
        "target": {"column": "text", "task": "write", "max_tokens": 300},
        "language": {
            "scorers": ["transformer", "ngram"],
            "mix": "gate",
            "transformer": {"layers": 1, "width": 32, "conditioning": "none"},
            "ngram": {"order": 5},
        },
        "training": {"max_steps": 3, "batch_rows": 8},
        "decoding": {"max_tokens": 20},
    }
    return Sensorium.from_config(config, folder).fit(folder / "run")


def test_it_is_judged_by_perplexity_alone(trained: Sensorium) -> None:
    assert trained.result is not None
    evaluation = trained.result.evaluation
    assert set(evaluation.metrics) == {"perplexity"}
    assert 1 < evaluation.metrics["perplexity"] < 3
    assert [baseline.name for baseline in trained.result.baselines] == ["transformer alone", "ngram alone"]
    assert sum(trained.result.fitted.weights.values()) == pytest.approx(1)


def test_it_scores_and_writes_without_a_row(trained: Sensorium) -> None:
    assert trained.result is not None
    loaded = sensorium.load(trained.result.run)
    assert loaded.score(VERSE) == pytest.approx(trained.score(VERSE), rel=1e-4)
    assert loaded.score(VERSE) > loaded.score(VERSE[::-1])
    prediction = loaded.predict()
    assert prediction.text
    assert math.log(prediction.probability) < 0
