"""The whole path on a small table: train, judge, save, load, answer, resume."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import sensorium
from sensorium.core.errors import ConfigError, DataError, MediaError, ModelError, UsageError
from sensorium.data.quarantine import Quarantine
from sensorium.training.progress import Silent
from sensorium.workflow.config import config_from_text, load_config
from sensorium.workflow.prepare import open_parts
from sensorium.workflow.seeds import train_seeds
from sensorium.workflow.train import train


def fit(folder: Path, *changes: str, **options):
    return train(load_config(folder / "shapes.toml", changes), progress=Silent(), **options)


@pytest.fixture(scope="module")
def trained(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return fit(shapes_folder, "training.epochs=60", "evaluation.baseline_budget=0.2", out=out)


def test_learns_what_neither_input_says_alone(trained):
    accuracy = trained.evaluation.metrics["accuracy"]
    assert accuracy >= 0.9
    baselines = {b.name: b.metrics["accuracy"] for b in trained.baselines}
    assert set(baselines) == {"majority", "photo only", "question only"}
    assert accuracy > max(baselines.values())


def test_a_run_folder_holds_what_it_says(trained):
    names = {path.name for path in trained.run.iterdir()}
    assert {"config.toml", "metrics.jsonl", "checkpoints", "model", "evaluation.json"} <= names
    summary = json.loads((trained.run / "evaluation.json").read_text())
    assert summary["metrics"] == trained.evaluation.metrics
    assert summary["judged_on"] == "validation"
    assert "majority" in (trained.run / "model" / "README.md").read_text()


def test_loading_gives_the_same_answers_and_any_subset_is_accepted(trained, shapes_folder):
    loaded = sensorium.load(trained.run)
    photo = shapes_folder / "0.png"
    rows = [{"photo": photo, "question": "is it red?"}, {"photo": photo}, {"question": "is it red?"}]
    found = loaded.predict(rows)
    before = trained.prepared.model
    assert [p.text for p in found[:1]] == ["yes"]
    assert abs(sum(q for _, q in found[0].alternatives) - 1) < 1e-4
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, loaded.predictor.model.state_dict()[name]), name
    alone = loaded.predict(photo=photo.read_bytes(), question="is it red?")
    assert alone.text == found[0].text
    assert alone.probability == pytest.approx(found[0].probability, abs=1e-5)
    score = loaded.score("yes", photo=photo, question="is it red?")
    assert score < 0
    assert score > loaded.score("no", photo=photo, question="is it red?")


def test_rows_do_not_influence_each_other(trained, shapes_folder):
    model = sensorium.load(trained.run)
    rows = [{"photo": shapes_folder / f"{i}.png", "question": "is it red?"} for i in range(5)]
    together = model.predict([*rows, {"question": "what color is it?"}])
    for row, one in zip(rows, together, strict=False):
        alone = model.predict([row])[0]
        assert alone.text == one.text
        assert alone.probability == pytest.approx(one.probability, abs=1e-5)


def test_save_and_load_the_model_alone(trained, shapes_folder, tmp_path):
    model = sensorium.load(trained.run)
    copy = sensorium.load(model.save(tmp_path / "alone"))
    row = {"photo": shapes_folder / "1.png", "question": "is it green?"}
    assert copy.predict([row]) == model.predict([row])
    with pytest.raises(UsageError, match="without its run"):
        copy.evaluate()


def test_evaluate_on_a_table_and_on_subsets(trained, shapes_folder):
    model = sensorium.load(trained.run)
    assert model.evaluate().metrics == pytest.approx(
        trained.evaluation.metrics, rel=1e-6
    )  # other batches round otherwise
    everything = model.evaluate(shapes_folder / "shapes.csv")
    assert everything.num_rows == 120
    blind = model.evaluate(shapes_folder / "shapes.csv", only=["question"])
    assert blind.metrics["accuracy"] < everything.metrics["accuracy"]


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ({}, UsageError, "without any input"),
        ({"photos": "a.png"}, UsageError, "did you mean 'photo'"),
        ({"photo": "missing.png"}, MediaError, "missing.png"),
        ({"photo": b"<html>"}, MediaError, "HTML"),
    ],
)
def test_bad_rows_are_named(trained, row, error, message):
    with pytest.raises(error, match=message):
        sensorium.load(trained.run).predict([row])


def test_damaged_and_unfinished_models_are_refused(trained, tmp_path):
    copy = sensorium.load(trained.run).save(tmp_path / "copy")
    weights = copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(ModelError, match="cut short"):
        sensorium.load(copy)
    with pytest.raises(ModelError, match="not a run folder"):
        sensorium.load(tmp_path)


def test_out_must_be_new_or_empty_and_runs_are_numbered(shapes, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").touch()
    with pytest.raises(UsageError, match="not empty"):
        fit(shapes, out=tmp_path / "taken")
    first, second = (fit(shapes, "evaluation.baselines=false", "training.epochs=1") for _ in range(2))
    assert (first.run.name, second.run.name) == ("shapes-001", "shapes-002")
    with pytest.raises(UsageError, match="no run"):
        train(load_config(shapes / "shapes.toml", ["run.name=other"]), resume=True, progress=Silent())


def test_the_same_seed_gives_the_same_weights_and_resume_of_another_config_is_refused(shapes):
    changes = ["evaluation.baselines=false", "fusion.input_dropout=0.3"]
    first, second = (fit(shapes, *changes) for _ in range(2))
    one, two = (r.prepared.model.state_dict() for r in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(ConfigError, match=r"training\.learning_rate"):
        fit(shapes, *changes, "training.learning_rate=0.5", out=second.run, resume=True)
    again = fit(shapes, *changes, out=second.run, resume=True)
    three = again.prepared.model.state_dict()
    assert all(torch.equal(one[name], three[name]) for name in one)


def test_scorers_are_mixed_with_fitted_weights(shapes):
    result = fit(shapes, 'language.scorers=["transformer", "ngram"]', "evaluation.baselines=false")
    weights = result.fitted.weights
    assert set(weights) == {"transformer", "ngram"}
    assert sum(weights.values()) == pytest.approx(1, abs=1e-5)
    loaded = sensorium.load(result.run)
    assert loaded.evaluate().metrics == pytest.approx(result.evaluation.metrics)


def test_counting_alone_needs_no_gradient(shapes):
    text = (shapes / "shapes.toml").read_text()
    section = text[text.index("[language.transformer]") : text.index("[training]")]
    config = config_from_text(text.replace(section, "").replace('["transformer"]', '["ngram"]'), shapes)
    result = train(config, progress=Silent())
    assert result.fitted.report is None
    assert result.evaluation.metrics["accuracy"] > 0.3


def test_a_frozen_encoder_is_a_cached_feature(shapes):
    result = fit(shapes, "inputs.photo.frozen=true", "evaluation.baselines=false", "training.epochs=3")
    model = result.prepared.model
    assert not any(p.requires_grad for p in model.encoders["photo"].encoder.parameters())
    loaded = sensorium.load(result.run)
    assert loaded.evaluate().metrics == pytest.approx(result.evaluation.metrics)


def test_seeds_report_mean_and_spread(shapes):
    config = load_config(shapes / "shapes.toml", ["training.epochs=1", "evaluation.baselines=false"])
    summary = train_seeds(config, 2, out=None, progress=Silent(), say=lambda line: None)
    stats = summary["metrics"]["accuracy"]
    assert len(stats["values"]) == 2
    assert stats["mean"] == pytest.approx(sum(stats["values"]) / 2)
    assert (Path(summary["run"]) / "seed-1" / "model").is_dir()


def test_bad_rows_are_quarantined_and_too_many_stop_the_run(shapes_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in filter(Path.is_file, shapes_folder.iterdir()):  # not what other tests keep beside them
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "7.png").write_bytes((tmp_path / "7.png").read_bytes()[:30])
    with pytest.raises(DataError, match=r"7\.png"):
        fit(tmp_path)
    result = fit(tmp_path, "data.max_bad_fraction=0.2", "evaluation.baselines=false")
    assert result.summary()["quarantined"] == 4
    assert (result.run / "bad_rows.jsonl").read_text().count("7.png") == 4


def test_cut_texts_are_counted(shapes):
    result = fit(shapes, "inputs.question.max_tokens=2", "evaluation.baselines=false", "training.epochs=1")
    counts = result.prepared.train.counts
    assert counts["question items cut to their longest length"] == 4  # three colors asked, and "what color is it?"


def test_a_missing_column_is_named(shapes):
    with pytest.raises(DataError, match=r"no column 'sound'.*it has photo, question, answer"):
        fit(shapes, "inputs.question.column=sound")


def test_captions_have_many_references_and_are_written_freely(shapes):
    config = load_config(
        shapes / "shapes.toml",
        ["target.task=caption", "evaluation.baselines=false", "decoding.search=beam", "decoding.max_tokens=5"],
    )
    result = train(config, progress=Silent())
    assert result.prepared.answers is None
    assert 0 <= result.evaluation.metrics["bleu1"] <= 100
    found = [refs for _, _, refs in result.evaluation.predictions]
    assert sum(map(len, found)) == result.evaluation.num_rows


def test_a_mixture_is_judged_beside_each_of_its_scorers(shapes):
    result = fit(shapes, 'language.scorers=["transformer", "ngram"]', "evaluation.baseline_inputs=[]")
    found = {baseline.name: baseline.metrics["perplexity"] for baseline in result.baselines[1:]}
    assert set(found) == {"transformer alone", "ngram alone"}
    model, corpus = result.prepared.model, result.prepared.validation
    for name in ("transformer", "ngram"):
        batch = corpus.batch(np.arange(corpus.num_rows))
        with torch.inference_mode():
            score_BT = model.parts[name].score(batch.token_BT, batch.mask_BT, model.condition(batch))
        nats = -float(score_BT.sum()) / int(batch.mask_BT.sum() - corpus.num_rows)
        assert found[f"{name} alone"] == pytest.approx(math.exp(nats), rel=1e-4)
    assert type(model.scorer).__name__ == "Mixture"  # the model itself is as it was


def test_smaller_shares_of_the_training_rows_lie_within_larger(shapes):
    def rows(share):
        config = load_config(shapes / "shapes.toml", [f"data.train_fraction={share}"])
        parts = open_parts(config, Quarantine(0.0))
        return parts["train"], parts["validation"].row_N.tolist()

    (whole, held), (half, held_too), (tenth, _) = rows(1.0), rows(0.5), rows(0.1)
    assert set(tenth.row_N) < set(half.row_N) < set(whole.row_N)
    assert held == held_too
    photos = {photo for photo in half.cells("photo") if photo}
    assert not photos & {whole.table.row(int(i))["photo"] for i in set(whole.row_N) - set(half.row_N)}


def test_an_internal_language_is_divided_out_of_a_run(shapes):
    changes = ['language.scorers=["transformer", "ngram"]', 'language.mix="product"', "evaluation.baselines=false"]
    result = fit(shapes, *changes, 'language.internal={transformer="fit"}')
    fitted = result.prepared.model.parts["transformer"].share
    loaded = sensorium.load(result.run)
    assert loaded.predictor.model.parts["transformer"].share == pytest.approx(fitted)
    assert loaded.evaluate().metrics == pytest.approx(result.evaluation.metrics)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["language.internal={transfomer=0.3}"], "names no scorer: 'transfomer'.*transformer"),
        (["language.internal={transformer=1.5}"], "language.internal"),
        (['language.internal={transformer="fit"}'], "there are none"),
        (['language.scorers=["transformer", "ngram"]', "language.internal={ngram=0.3}"], "no internal language"),
    ],
)
def test_an_internal_language_that_cannot_be_meant_is_said(shapes, changes, said):
    with pytest.raises(ConfigError, match=f"(?s){said}"):
        load_config(shapes / "shapes.toml", changes)
