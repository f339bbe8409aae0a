"""A run that rescores: tuned on validation rows in training, kept with the run, used by everyone who asks it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sensorium
from sensorium.core.errors import ConfigError
from sensorium.training.progress import Silent
from sensorium.workflow.config import load_config
from sensorium.workflow.run_folder import read_decoding
from sensorium.workflow.train import train

CHANGES = (
    "target.task=caption",
    'language.scorers=["transformer", "ngram"]',
    "evaluation.baselines=false",
    "training.max_steps=6",
    "decoding.search=beam",
    "decoding.n_best=4",
    "decoding.max_tokens=6",
    'decoding.rescore.by=["transformer", "ngram"]',
    'decoding.rescore.metric="bleu1"',
)


def run(shapes: Path, out: Path, *changes: str):
    config = load_config(shapes / "shapes.toml", [*CHANGES, *changes])
    return train(config, out=out, progress=Silent())


def test_weights_are_tuned_kept_and_used(shapes, tmp_path):
    plain = run(shapes, tmp_path / "plain", "decoding.rescore.weights={}")
    tuned = run(shapes, tmp_path / "tuned")
    weights = json.loads((tmp_path / "tuned" / "evaluation.json").read_text())["rescoring_weights"]
    assert set(weights) == {"transformer", "ngram", "length"}
    assert tuned.evaluation.metrics["bleu1"] >= plain.evaluation.metrics["bleu1"]  # judged where it was tuned
    assert read_decoding(tmp_path / "tuned").rescore.weights == weights
    loaded = sensorium.load(tmp_path / "tuned")
    assert loaded.evaluate().metrics == pytest.approx(tuned.evaluation.metrics)
    forced = run(shapes, tmp_path / "forced", "decoding.rescore.weights={ngram=-9.0}")
    usual, odd = ([p.text for _, p, _ in r.evaluation.predictions] for r in (plain, forced))
    assert usual != odd


def test_what_cannot_be_tuned_is_refused(shapes, tmp_path):
    with pytest.raises(ConfigError, match="no scorer 'ngrams'"):
        run(shapes, tmp_path / "a", 'decoding.rescore.by=["ngrams"]')
    with pytest.raises(ConfigError, match="cannot tune for wer"):
        run(shapes, tmp_path / "b", "decoding.rescore.metric=wer")
    with pytest.raises(ConfigError, match="known answers"):
        run(shapes, tmp_path / "c", "target.task=answer", "target.closed=true")
    with pytest.raises(ConfigError, match="tuned on these"):
        run(shapes, tmp_path / "d", "training.refit_counts=true")


def test_a_baseline_of_one_scorer_does_without_what_asks_others(shapes, tmp_path):
    changes = ("evaluation.baselines=true", 'decoding.rescore.by=["ngram"]', "decoding.rescore.weights={ngram=0.5}")
    result = run(shapes, tmp_path / "run", *changes)
    assert {"transformer", "ngram"} <= {word for baseline in result.baselines for word in baseline.name.split()}


def test_a_run_chooses_by_consensus(shapes, tmp_path):
    scorers = 'language.scorers=["transformer", "neighbours"]'
    consensus = ('decoding.consensus.memory="neighbours"', "decoding.consensus.draws=4")
    changes = [change for change in CHANGES if "rescore" not in change and "scorers" not in change]
    config = load_config(shapes / "shapes.toml", [*changes, scorers, *consensus])
    result = train(config, out=tmp_path / "run", progress=Silent())
    loaded = sensorium.load(tmp_path / "run")
    assert loaded.evaluate().metrics == pytest.approx(result.evaluation.metrics)
    with pytest.raises(ConfigError, match="recalls no texts"):
        train(
            config.replace(
                decoding=config.decoding.model_copy(
                    update={"consensus": config.decoding.consensus.model_copy(update={"memory": "transformer"})}
                )
            ),
            out=tmp_path / "other",
            progress=Silent(),
        )
