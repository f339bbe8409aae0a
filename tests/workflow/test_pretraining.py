"""Pretrain without a target, then begin from the run: configs, folders, resume, and what is taken."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import sensorium
from sensorium.core.config import read_toml
from sensorium.core.errors import ConfigError, ModelError, UsageError
from sensorium.model.saving import load_pretrainer
from sensorium.training.progress import Silent
from sensorium.workflow.config import (
    PretrainingConfig,
    config_from_text,
    load_config,
    parse_pretraining,
)
from sensorium.workflow.pretraining import measure, prepare_pretraining, pretrain
from sensorium.workflow.reporting_again import reports_again
from sensorium.workflow.tasks_config import load_any
from sensorium.workflow.train import train

OBJECTIVES = """
[objectives]
masked = { photo = 0.5, question = 0.3 }
heads = 2

[objectives.matching]
inputs = ["photo", "question"]
hard = true

[fusion.alignment]
inputs = ["photo", "question"]
"""


def without_target(text: str) -> str:
    return re.sub(r"\[(target|language|language\.transformer)\]\n(?:[^\[\n].*\n|\n)*", "", text)


@pytest.fixture(scope="module")
def folder(shapes_folder: Path) -> Path:
    text = (shapes_folder / "shapes.toml").read_text()
    (shapes_folder / "pretrain.toml").write_text(without_target(text) + OBJECTIVES)
    return shapes_folder


def pretraining(folder: Path, *changes: str) -> PretrainingConfig:
    return load_any(folder / "pretrain.toml", ["training.epochs=3", *changes])


@pytest.fixture(scope="module")
def pretrained(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("runs") / "pre"
    return pretrain(pretraining(folder, "training.epochs=10"), out=out, progress=Silent())


def fine_tuning(folder: Path, run: Path, *changes: str):
    photo = f'inputs.photo = {{ encoder = "run:{run}#photo" }}'
    question = f'inputs.question = {{ encoder = "run:{run}#question", rate_decay = 0.5 }}'
    return load_config(folder / "shapes.toml", ["evaluation.baselines=false", photo, question, *changes])


def test_a_config_without_a_target_pretrains(folder):
    config = pretraining(folder)
    assert type(config) is PretrainingConfig
    with pytest.raises(ConfigError, match="nothing is written"):
        load_config(folder / "pretrain.toml")


def test_pretraining_reports_what_the_other_inputs_gave(pretrained):
    summary = json.loads((pretrained.run / "evaluation.json").read_text())
    assert set(summary["objectives"]) == {"masked photo", "masked question", "matching", "alignment"}
    assert set(summary["alone"]) == {"masked photo", "masked question"}
    assert 0 <= summary["objectives"]["matching"]["accuracy"] <= 1
    names = {path.name for path in pretrained.run.iterdir()}
    assert {"config.toml", "metrics.jsonl", "checkpoints", "model", "evaluation.json"} <= names
    assert "run:THIS#photo" in (pretrained.run / "model" / "README.md").read_text()


def test_pretraining_leaves_a_report_that_can_be_made_again(pretrained, tmp_path):
    page = (pretrained.run / "report.html").read_text(encoding="utf-8")
    for part in ("objectives", "curves", "left-out", "again"):
        assert f'<section id="{part}"' in page, part
    loss = pretrained.objectives["masked photo"]["loss"]
    assert f"masked photo {loss:.3g} (alone {pretrained.alone['masked photo']['loss']:.3g})" in page
    (again,) = reports_again(pretrained.run, tmp_path / "again.html")
    assert again.read_text(encoding="utf-8") == page


def test_pretraining_learns(folder, pretrained, tmp_path):
    before = pretrain(pretraining(folder, "training.max_steps=1"), out=tmp_path / "a", progress=Silent())
    for name in ("masked photo", "masked question"):
        assert pretrained.objectives[name]["loss"] < 0.8 * before.objectives[name]["loss"], name


def test_a_pretrained_folder_is_judged_again_and_gives_the_same(folder, pretrained):
    from sensorium.data.quarantine import Quarantine

    config = pretraining(folder)
    _, corpora = prepare_pretraining(config, Quarantine(0.5))
    model = load_pretrainer(pretrained.run / "model")
    assert measure(model, corpora["validation"], 512) == pretrained.objectives


def test_a_pretrained_model_cannot_be_asked(pretrained):
    with pytest.raises(ConfigError, match="nothing is written"):
        sensorium.load(pretrained.run)
    with pytest.raises(ModelError, match="writes nothing"):
        sensorium.load(pretrained.run / "model")


def test_resume_is_exact(folder, tmp_path):
    changes = ["training.checkpoint_every=2", "inputs.photo.colour=0.3", "inputs.question.word_dropout=0.2"]
    changes += ["fusion.input_dropout=0.1", "inputs.photo.crop=0.2", "inputs.photo.flip=true"]
    whole = pretrain(pretraining(folder, *changes), out=tmp_path / "whole", progress=Silent())
    part = tmp_path / "part"
    config = pretraining(folder, *changes)
    pretrain(config, out=part, progress=Silent())
    steps = sorted((part / "checkpoints").iterdir())
    for path in (*steps[-1].iterdir(), steps[-1]):
        path.rmdir() if path.is_dir() else path.unlink()
    resumed = pretrain(config, out=part, resume=True, progress=Silent())
    assert resumed.report.resumed_from == steps[-2]
    weights = [load_file(run / "model" / "weights.safetensors") for run in (whole.run, part)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_fine_tuning_begins_with_weights_and_vocabulary_of_the_run(folder, pretrained, tmp_path):
    config = fine_tuning(folder, pretrained.run, "training.learning_rate=1e-12", "training.max_steps=1")
    assert config.model.inputs["photo"].section.encoder == "cnn"
    result = train(config, out=tmp_path / "run", progress=Silent())
    theirs = load_file(pretrained.run / "model" / "weights.safetensors")
    ours = load_file(result.run / "model" / "weights.safetensors")
    taken = [name for name in theirs if name.startswith("encoders.") and theirs[name].is_floating_point()]
    assert taken
    for name in taken:
        if "running" not in name:
            assert torch.allclose(ours[name], theirs[name], atol=1e-6), name
    other = (pretrained.run / "model" / "inputs" / "question" / "tokenizer.json").read_bytes()
    assert (result.run / "model" / "inputs" / "question" / "tokenizer.json").read_bytes() == other
    values, _ = read_toml(result.run / "config.toml")
    assert len(values["inputs"]["photo"]["taken_digest"]) == 64


def test_the_new_model_folder_needs_nothing_but_itself(folder, pretrained, tmp_path):
    moved = tmp_path / "moved"
    pretrained.run.rename(moved)
    try:
        result = train(fine_tuning(folder, moved), out=tmp_path / "run", progress=Silent())
    finally:
        moved.rename(pretrained.run)
    found = sensorium.load(result.run).predict(photo=folder / "0.png", question="is it red?")
    assert found.text in {"yes", "no", "red", "green", "blue"}
    with pytest.raises(ConfigError, match="no model is in"):
        train(load_config(result.run / "config.toml"), out=result.run, resume=True, progress=Silent())


def test_fusion_is_taken_whole(folder, pretrained, tmp_path):
    config = fine_tuning(folder, pretrained.run, f'fusion = {{ features = "run:{pretrained.run}" }}')
    assert config.model.fusion.features == "concat"
    assert config.model.fusion.width == 32
    assert config.model.fusion.alignment is None
    config = config.replace(
        training=config.training.model_copy(update={"learning_rate": 1e-12, "epochs": None, "max_steps": 1})
    )
    result = train(config, out=tmp_path / "run", progress=Silent())
    theirs = load_file(pretrained.run / "model" / "weights.safetensors")["fusion.kind_KD"]
    assert torch.allclose(result.prepared.model.fusion.kind_KD.detach(), theirs, atol=1e-6)
    again = load_config(result.run / "config.toml")
    assert again.model.dump() == config.model.dump()


def test_a_frozen_encoder_is_taken(folder, pretrained, tmp_path):
    config = load_config(
        folder / "shapes.toml",
        [
            "evaluation.baselines=false",
            f'inputs.photo = {{ encoder = "run:{pretrained.run}#photo", frozen = true }}',
        ],
    )
    result = train(config, out=tmp_path / "run", progress=Silent())
    theirs = load_file(pretrained.run / "model" / "weights.safetensors")
    ours = load_file(result.run / "model" / "weights.safetensors")
    name = "trunk.0.0.weight"
    assert torch.equal(ours[f"encoders.photo.encoder.{name}"], theirs[f"encoders.photo.{name}"])


def test_a_run_that_changed_is_refused(folder, pretrained, tmp_path):
    config = fine_tuning(folder, pretrained.run)
    choice = config.model.inputs["photo"]
    object.__setattr__(choice, "section", choice.section.model_copy(update={"taken_digest": "0" * 64}))
    with pytest.raises(ModelError, match="not what it was"):
        train(config, out=tmp_path / "run", progress=Silent())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('inputs.photo = { encoder = "run:nowhere#photo" }', "no model is in"),
        ('inputs.photo = { encoder = "run:RUN#foto" }', "did you mean 'photo'"),
        ('inputs.photo = { encoder = "run:RUN#question", modality = "image" }', "is text, not image"),
        ('inputs.photo = { encoder = "run:RUN#photo", gird = 3 }', "did you mean 'grid'"),
        ('inputs.question = { encoder = "run:RUN#question", learned_vectors = true }', "not both"),
        ('fusion = { features = "run:RUN", width = 64 }', "width is 32"),
    ],
)
def test_bad_specs_say_so(folder, pretrained, change, message):
    with pytest.raises(ConfigError, match=message):
        load_config(folder / "shapes.toml", [change.replace("RUN", str(pretrained.run))])


def test_another_width_says_so(folder, pretrained):
    with pytest.raises(ConfigError, match=r"fusion\.width = 32"):
        fine_tuning(folder, pretrained.run, "fusion.width=64")


def test_other_inputs_cannot_take_the_fusion(folder, pretrained):
    text = (folder / "shapes.toml").read_text().replace("[inputs.photo]", '[inputs.picture]\ncolumn = "photo"')
    text = text.replace('features = "concat"', f'features = "run:{pretrained.run}"')
    with pytest.raises(ConfigError, match="the run fuses photo, question"):
        config_from_text(text, folder)


def test_weights_of_another_size_do_not_fit(folder, pretrained, tmp_path):
    config = fine_tuning(folder, pretrained.run, "inputs.photo.channels=[8, 24]")
    with pytest.raises(ModelError, match="do not fit"):
        train(config, out=tmp_path / "run", progress=Silent())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("objectives.masked={foto=0.5}", "did you mean 'photo'"),
        ("objectives.masked={photo=1.5}", "less than 1"),
        ("objectives.masked={photo=0.5, rate=0.1}", "names no input"),
        ("objectives.masked={photo={rate=0.5, spam=3}}", "did you mean 'span'"),
        ("inputs.photo.frozen=true", "is frozen"),
        ("objectives.heads=3", "3 heads do not divide"),
        ('objectives.matching={inputs=["photo", "photo"]}', "a pair is of two inputs"),
        ('objectives.matching={inputs=["photo", "sound"]}', "names no input: 'sound'"),
        ("inputs.question.frozen_layers=-1", "greater than or equal to 0"),
        ("inputs.question.rate_decay=1.5", "less than or equal to 1"),
        ('decoding.search="beam"', "nothing is written"),
        ('language.scorers=["transformer"]', "nothing is written"),
        ('inputs.question.encoder="naive_bayes"', "fitted by counting"),
    ],
)
def test_bad_objectives_say_so(folder, change, message):
    with pytest.raises(ConfigError, match=message):
        pretraining(folder, change)


def test_hard_negatives_need_alignment(folder):
    values, source = read_toml(folder / "pretrain.toml")
    del values["fusion"]["alignment"]
    with pytest.raises(ConfigError, match="found by the alignment"):
        parse_pretraining(values, source, folder=folder, name="x")


def test_objectives_of_nothing_are_refused(folder):
    values, source = read_toml(folder / "pretrain.toml")
    del values["fusion"]["alignment"]
    values["objectives"] = {}
    with pytest.raises(ConfigError, match="nothing to train by"):
        parse_pretraining(values, source, folder=folder, name="x")


def test_patches_that_do_not_fill_are_refused(folder, tmp_path):
    config = pretraining(folder, "objectives.masked={photo={rate=0.5, span=5}}")
    with pytest.raises(ConfigError, match=r"objectives\.masked\.photo: patches of 5"):
        pretrain(config, out=tmp_path / "run", progress=Silent())


def test_objectives_beside_a_target(folder, tmp_path):
    config = load_config(
        folder / "shapes.toml", ["objectives.masked={photo=0.5}", "objectives.heads=2", "training.epochs=2"]
    )
    result = train(config, out=tmp_path / "run", progress=Silent())
    assert {"photo only", "question only"} <= {baseline.name for baseline in result.baselines}
    assert any(name.startswith("objectives.") for name in result.prepared.model.state_dict())
    sensorium.load(result.run).predict(photo=folder / "0.png")


def test_a_frozen_input_is_never_augmented(folder):
    with pytest.raises(ConfigError, match="never changed"):
        load_config(folder / "shapes.toml", ["inputs.photo.frozen=true", "inputs.photo.crop=0.2"])


def test_the_command_pretrains(folder, tmp_path, capsys):
    from sensorium.cli.train import train as command

    command(folder / "pretrain.toml", ["training.max_steps=1"], tmp_path / "run", no_baselines=False, seeds=1)
    shown = capsys.readouterr().out
    assert "masked photo" in shown
    assert "begin from it" in shown


def test_several_seeds_of_pretraining_report_mean_and_spread(folder, tmp_path, capsys):
    from sensorium.cli.train import train as command

    changes = ["training.max_steps=1", "data.cache=''"]
    command(folder / "pretrain.toml", changes, tmp_path / "runs", seeds=2, as_json=True)
    summary = json.loads(capsys.readouterr().out)
    found = summary["metrics"]["masked photo/loss"]
    each = [run["objectives"]["masked photo"]["loss"] for run in summary["runs"]]
    assert found["values"] == each
    assert found["mean"] == pytest.approx(sum(each) / 2)
    assert each[0] != each[1]
    fine_tuning(folder, tmp_path / "runs" / "seed-1")  # each can be begun from
    with pytest.raises(UsageError, match="several --seeds"):
        command(folder / "pretrain.toml", changes, tmp_path / "runs", resume=True, seeds=2)


def test_dry_run_of_pretraining_writes_nothing(folder, tmp_path, monkeypatch, capsys):
    from sensorium.cli.train import train as command

    monkeypatch.chdir(tmp_path)
    command(folder / "pretrain.toml", ["data.cache=''"], dry_run=True, as_json=True)
    facts = json.loads(capsys.readouterr().out)
    assert facts["num_steps"] >= facts["num_batches"] > 0
    assert facts["num_trainable"] == facts["parameters"] > 1000
    assert list(tmp_path.iterdir()) == []
