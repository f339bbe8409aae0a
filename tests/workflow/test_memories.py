"""Whole runs with memories: trained, filled, tuned, weighed, saved, asked."""

from pathlib import Path

import pytest
import torch

from sensorium.core.errors import ConfigError
from sensorium.workflow.api import Sensorium
from sensorium.workflow.config import load_config
from sensorium.workflow.train import train


def shapes_config(shapes: Path, *changes: str):
    return load_config(shapes / "shapes.toml", ["evaluation.baselines=false", "training.epochs=1", *changes])


@pytest.mark.parametrize("mix", ["linear", "product", "gate"])
def test_a_run_with_both_memories(shapes, tmp_path, mix):
    scorers = "language.scorers=['knn','transformer','infinigram']"
    result = train(shapes_config(shapes, scorers, f"language.mix={mix}"), out=tmp_path / "run")
    assert {"memory", "counting", "training", "weights"} <= set(result.fitted.seconds)
    memory = result.prepared.model.parts["knn"]
    tokens = sum(len(target) - 1 for target in result.prepared.train.targets())
    assert len(memory.value_) == len(memory.key_) == tokens
    assert float(memory.temperature_) != 1.0
    assert len(result.prepared.model.parts["infinigram"].next_) == tokens + result.prepared.train.num_rows
    model, question = Sensorium.load(tmp_path / "run"), "is it red?"
    assert model.predict(question=question).text in ("yes", "no")
    loaded = model.predictor.model.parts["knn"]
    assert torch.equal(loaded.key_, memory.key_)
    assert loaded.read_scorer is model.predictor.model.parts["transformer"]


def test_the_memory_of_a_row_is_what_it_was_conditioned_on(shapes, tmp_path):
    result = train(shapes_config(shapes, "language.scorers=['transformer','knn']"), out=tmp_path / "run")
    model, corpus = result.prepared.model, result.prepared.train
    batch = corpus.batch(torch.arange(4).numpy())
    hidden_BTW = model.parts["transformer"].unroll_hidden(batch.token_BT, batch.mask_BT, model.condition(batch))
    keys_NW = hidden_BTW[:, :-1][batch.mask_BT[:, 1:]]
    torch.testing.assert_close(model.parts["knn"].key_[: len(keys_NW)], keys_NW, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("of", ["knn", "trnsformer"])
def test_a_memory_names_the_scorer_it_reads(shapes, of):
    with pytest.raises(ConfigError, match=f"names no other scorer: '{of}'"):
        shapes_config(shapes, "language.scorers=['transformer','knn']", f"language.knn.of={of}")


def test_a_memory_of_counts_is_refused(shapes):
    with pytest.raises(ConfigError, match="'ngram' has no hidden vectors"):
        shapes_config(shapes, "language.scorers=['transformer','ngram','knn']", "language.knn.of=ngram")


def test_a_run_with_both_memories_is_taught_and_forgets(shapes, tmp_path):
    scorers = "language.scorers=['transformer','knn','infinigram']"
    train(shapes_config(shapes, scorers, "language.weights=[0.4,0.3,0.3]"), out=tmp_path / "run")
    model, question = Sensorium.load(tmp_path / "run"), "is it red?"
    before = {answer: model.score(answer, question=question) for answer in ("yes", "no", "green")}
    model.teach("green", source="a", weight=40)
    assert model.score("green", question=question) > before["green"]
    model.save(tmp_path / "kept")  # what is taught is kept beside the model
    model = Sensorium.load(tmp_path / "kept")
    assert model.score("green", question=question) > before["green"]
    model.forget("a")
    assert {answer: model.score(answer, question=question) for answer in before} == before
