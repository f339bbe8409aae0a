"""Pretraining beside what else a model may have: lists of media, layouts, balance, several tasks, retrieval."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import sensorium
from sensorium.cli.main import app
from sensorium.core.errors import ConfigError
from sensorium.training.progress import Silent
from sensorium.workflow.config import PretrainingConfig, RunConfig, config_from_text
from sensorium.workflow.contenders import Contender, measure
from sensorium.workflow.pretraining import pretrain
from sensorium.workflow.tasks_config import TasksConfig, any_from_text
from sensorium.workflow.tasks_train import train_any
from sensorium.workflow.train import train

SHARED = """
[data]
train = "albums.csv"
validation_fraction = 0.25
cache = ""
[training]
max_steps = 2
batch_rows = 32
learning_rate = 1e-12
[evaluation]
baselines = false
"""
INPUTS = """
[inputs.photos]
modality = "image"
encoder = "cnn"
size = 16
channels = [8, 16]
grid = 2
several = true
max_media = 3
[inputs.question]
modality = "text"
encoder = "gru"
"""
FUSION = """
[fusion]
width = 24
layout = "serial"
order = ["question", "photos"]
[fusion.alignment]
inputs = ["photos", "question"]
"""
OBJECTIVES = """
[objectives]
masked = { question = 0.3 }
[objectives.matching]
inputs = ["photos", "question"]
"""
ALBUMS = SHARED + INPUTS + FUSION + OBJECTIVES
LANGUAGE = """
[language.transformer]
layers = 1
width = 32
heads = 2
"""
TAKEN = """
[inputs.photos]
encoder = "run:pre#photos"
several = true
max_media = 2
[inputs.question]
encoder = "run:pre#question"
[fusion]
features = "run:pre"
"""
TASKS = (
    SHARED
    + TAKEN
    + LANGUAGE
    + """
[tasks.answer.target]
column = "answer"
[tasks.ask]
inputs = ["photos"]
[tasks.ask.target]
column = "question"
task = "caption"
[tasks.find.target]
task = "retrieve"
"""
)


@pytest.fixture(scope="module")
def folder(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of shapes whose photo is shown twice, and a run pretrained on them."""
    folder = tmp_path_factory.mktemp("albums")
    for path in shapes_folder.glob("*.png"):
        shutil.copy(path, folder)
    with (shapes_folder / "shapes.csv").open(newline="") as source, (folder / "albums.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["photos", "question", "answer"])
        for row in csv.DictReader(source):
            writer.writerow([f"{row['photo']}|{row['photo']}", row["question"], row["answer"]])
    (folder / "polite.csv").write_text((folder / "albums.csv").read_text().replace("?", " please?"))
    (folder / "pretrain.toml").write_text(ALBUMS)
    config = any_from_text(ALBUMS.replace("1e-12", "0.004"), folder)
    pretrain(config, out=folder / "pre", progress=Silent())
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "weights.safetensors")


def test_the_three_kinds_of_run_are_told_apart(folder):
    target = '[target]\ncolumn = "answer"\n'
    assert type(any_from_text(ALBUMS, folder)) is PretrainingConfig
    assert type(any_from_text(SHARED + INPUTS + target, folder)) is RunConfig
    assert type(any_from_text(TASKS, folder)) is TasksConfig
    aligned_tasks = TASKS.replace(
        'features = "run:pre"', 'alignment = { inputs = ["photos", "question"] }\nwidth = 24'
    )
    assert type(any_from_text(aligned_tasks, folder)) is TasksConfig


def test_a_layout_and_lists_are_taken_from_a_run(folder, tmp_path):
    config = config_from_text(SHARED + TAKEN + LANGUAGE + '[target]\ncolumn = "answer"\n', folder)
    assert config.model.fusion.layout == "serial"
    assert config.model.fusion.order == ("question", "photos")
    assert config.model.inputs["photos"].section.max_media == 2
    ours, theirs = weights(train(config, out=tmp_path / "run", progress=Silent()).run), weights(folder / "pre")
    fused = [name for name in theirs if name.startswith("fusion.")]
    assert fused
    for name in fused:
        assert torch.allclose(ours[name], theirs[name], atol=1e-6), name
    assert torch.allclose(ours["lists.photos.index_KD"], theirs["lists.photos.index_KD"][:2], atol=1e-6)


def test_what_a_cell_lists_is_not_taken(folder):
    text = (SHARED + TAKEN).replace("several = true\nmax_media = 2\n", "")
    config = config_from_text(text + '[target]\ncolumn = "answer"\n', folder)
    assert not config.model.inputs["photos"].section.several


def test_several_tasks_begin_from_a_run(folder, tmp_path):
    config = any_from_text(TASKS.replace("albums.csv", "polite.csv"), folder)
    result = train_any(config, out=tmp_path / "run", progress=Silent())
    ours, theirs = weights(result.run), weights(folder / "pre")
    of_norms = ("running_mean", "running_var", "num_batches_tracked")
    for name in theirs:
        if not name.startswith(("encoders.", "fusion.")) or name.endswith(of_norms):
            continue
        assert torch.allclose(ours[name].float(), theirs[name].float(), atol=1e-6), name
    vocabulary = [run / "model" / "inputs" / "question" / "tokenizer.json" for run in (result.run, folder / "pre")]
    assert vocabulary[0].read_bytes() == vocabulary[1].read_bytes()
    shutil.move(folder / "pre", folder / "moved")
    try:
        model = sensorium.load(result.run / "model")
    finally:
        shutil.move(folder / "moved", folder / "pre")
    assert isinstance(model.generate(task="answer", photos=[folder / "0.png"], question="is it red?"), str)
    found = model.retrieve(among=folder / "albums.csv", question="is it red?", task="find", top=2)
    assert len(found) == 2
    assert "|" in found[0].cell
    one = model.predictor_of("answer").model
    assert one.encoders["photos"] is model.predictor_of("find").model.encoders["photos"]


def test_a_taken_fusion_has_baselines_of_single_inputs(folder, tmp_path):
    text = (SHARED + TAKEN + LANGUAGE).replace("baselines = false", "baseline_budget = 0.5")
    result = train(config_from_text(text + '[target]\ncolumn = "answer"\n', folder), out=tmp_path / "run")
    assert {"photos only", "question only"} <= {baseline.name for baseline in result.baselines}


def test_a_taken_fusion_is_compared_with_others(folder):
    config = config_from_text(SHARED + TAKEN + LANGUAGE + '[target]\ncolumn = "answer"\n', folder)
    contenders = [Contender("fusion", "concat"), Contender("fusion", "gated"), Contender("input", "question")]
    found = [measure(config, contender, 0) for contender in contenders]
    assert all("accuracy" in one.metrics for one in found)


def test_objectives_beside_a_layout_and_balance(folder, tmp_path):
    text = SHARED + INPUTS + FUSION + "[fusion.balance]\n" + OBJECTIVES + LANGUAGE
    config = config_from_text(text + '[target]\ncolumn = "answer"\n', folder)
    model = train(config, out=tmp_path / "run", progress=Silent()).prepared.model
    assert model.balance is not None
    assert model.objectives is not None
    batch = next(iter(train_batches(config, model)))
    gradients = torch.autograd.grad(
        model.train().losses(batch)[0].sum(), list(model.objectives.parameters()), allow_unused=True
    )
    assert all(gradient is not None for gradient in gradients)


def train_batches(config, model):
    from sensorium.data.quarantine import Quarantine
    from sensorium.workflow.fitting import batches
    from sensorium.workflow.prepare import build_corpus, open_parts

    quarantine = Quarantine(1.0)
    corpus = build_corpus(config, model, open_parts(config, quarantine)["train"], quarantine=quarantine)
    return batches(corpus, 32)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TASKS + OBJECTIVES, r"begin from it: encoder"),
        (
            SHARED + INPUTS + OBJECTIVES + '[target]\ntask = "retrieve"\n',
            r"without a fusion, by which \[objectives\]",
        ),
        (SHARED + TAKEN + '[target]\ntask = "retrieve"\n', "no fusion to begin from a run"),
        (TASKS.replace('features = "run:pre"', 'features = "run:pre"\nwidth = 32'), "width is 24"),
        (ALBUMS + "[fusion.balance]\n", "nothing is written"),
        (ALBUMS.replace("{ question = 0.3 }", "{ photos = 0.3 }"), "lists several media"),
        (ALBUMS + "[tasks.answer]\n", "have no place beside"),
    ],
)
def test_what_does_not_fit_says_so(folder, text, message):
    with pytest.raises(ConfigError, match=message):
        any_from_text(text, folder)


def test_python_asks_for_a_target(folder):
    with pytest.raises(ConfigError, match="nothing is written"):
        sensorium.Sensorium.from_config(folder / "pretrain.toml")


def test_the_command_checks_a_pretraining_config(folder):
    found = CliRunner().invoke(app, ["check", str(folder / "pretrain.toml")])
    assert found.exit_code == 0, found.output
    assert "task: pretrain" in found.output
    assert "train rows" in found.output
