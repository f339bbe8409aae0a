"""One model of several tasks, from the config to the command: trained, cut and resumed, saved, asked, judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import sensorium
from sensorium.cli.main import app
from sensorium.core.errors import ConfigError, ModelError, UsageError
from sensorium.core.types import Batch
from sensorium.data.mixing import TaskLoader
from sensorium.model.multitask import MultiTaskLM
from sensorium.training.checkpoint import load_checkpoint
from sensorium.training.generations import latest_whole
from sensorium.training.progress import Silent
from sensorium.workflow.reporting_again import reports_again
from sensorium.workflow.seeds import train_seeds
from sensorium.workflow.tasks_config import any_from_text
from sensorium.workflow.tasks_prepare import prepare_tasks
from sensorium.workflow.tasks_train import train_any

CONFIG = """
[data]
train = "shapes.csv"
validation_fraction = 0.25
cache = ""
[inputs.photo]
modality = "image"
encoder = "cnn"
size = 16
channels = [8, 16]
grid = 2
[inputs.question]
modality = "text"
encoder = "gru"
[fusion]
width = 32
input_dropout = 0.2
[fusion.balance]
[language.transformer]
layers = 1
width = 32
heads = 2
dropout = 0.1
[tasks.answer.target]
column = "answer"
[tasks.ask]
inputs = ["photo"]
weight = 0.5
[tasks.ask.target]
column = "question"
task = "caption"
[tasks.ask.language]
scorers = ["transformer", "ngram"]
[tasks.ask.language.transformer]
layers = 1
width = 32
heads = 2
dropout = 0.0
[tasks.find]
inputs = ["photo", "question"]
[tasks.find.target]
task = "retrieve"
[training]
epochs = 3
batch_rows = 16
learning_rate = 0.004
task_weights = "uncertainty"
task_temperature = 2.0
[evaluation]
baselines = false
"""


def config(folder: Path, **changes: str):
    text = CONFIG
    for old, new in changes.items():
        text = text.replace(old, new)
    return any_from_text(text, folder, "three.toml")


@pytest.fixture(scope="module")
def trained(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("tasks") / "run"
    return train_any(config(shapes_folder), out=out, progress=Silent())


def test_what_is_shared_is_one_and_saved_once(trained):
    model = trained.prepared.model
    answer, ask, find = (model.models[name] for name in ("answer", "ask", "find"))
    assert answer.encoders["photo"] is ask.encoders["photo"] is find.encoders["photo"]
    assert answer.fusion is ask.fusion
    assert find.fusion is None
    assert answer.scorer is not ask.scorer
    assert answer.vocab.fingerprint != ask.vocab.fingerprint
    tensors = load_file(trained.run / "model" / "weights.safetensors")
    assert sum(name.endswith("trunk.0.0.weight") for name in tensors) == 1
    assert not any(name.startswith("log_variance") for name in tensors)
    folders = {path.name for path in (trained.run / "model" / "tasks").iterdir()}
    assert folders == {"answer", "ask", "find"}


def test_uncertainty_is_learned_for_each_task(trained):
    assert set(trained.fitted.loss_weights) == {"answer", "ask", "find"}
    assert all(float(s.detach()) != 0 for s in trained.prepared.model.log_variance.values())
    assert set(trained.tasks["ask"].fitted.weights) == {"transformer", "ngram"}


def test_loaded_it_answers_and_judges_as_before(trained, shapes_folder, tmp_path):
    loaded = sensorium.load(trained.run)
    assert loaded.tasks == ("answer", "ask", "find")
    summary = json.loads((trained.run / "evaluation.json").read_text())
    assert all((trained.run / f"report-{name}.html").stat().st_size < 10_000_000 for name in trained.tasks)
    for name in loaded.tasks:
        metrics = {f"{name}/{m}": v for m, v in loaded.evaluate(task=name).metrics.items()}
        assert metrics == pytest.approx({k: v for k, v in summary["metrics"].items() if k.startswith(f"{name}/")})
    photo = shapes_folder / "0.png"
    copy = sensorium.load(loaded.save(tmp_path / "alone"))
    for model in (loaded, copy):
        assert model.predict(task="answer", photo=photo, question="is it red?").text in {
            "yes",
            "no",
            *["red", "green", "blue"],
        }
    assert copy.generate(task="ask", photo=photo) == loaded.generate(task="ask", photo=photo)
    assert copy.score("yes", task="answer", photo=photo) == pytest.approx(
        loaded.score("yes", task="answer", photo=photo)
    )
    found = copy.retrieve(question="is it red?", among=shapes_folder / "shapes.csv", top=2)
    assert len(found) == 2


def test_every_tasks_report_can_be_made_again(trained, tmp_path):
    paths = reports_again(trained.run, tmp_path / "again.html")
    assert [path.name for path in paths] == ["again-answer.html", "again-ask.html", "again-find.html"]
    for name, path in zip(trained.tasks, paths, strict=True):
        first = (trained.run / f"report-{name}.html").read_text(encoding="utf-8")
        again = path.read_text(encoding="utf-8")
        assert first[first.index("<body>") :] == again[again.index("<body>") :], name


def test_what_cannot_be_asked(trained, shapes_folder):
    model = sensorium.load(trained.run)
    photo = shapes_folder / "0.png"
    with pytest.raises(UsageError, match=r"3 tasks .*--task, one of answer, ask, find"):
        model.predict(photo=photo)
    with pytest.raises(UsageError, match="did you mean 'answer'"):
        model.predict(task="answers", photo=photo)
    with pytest.raises(UsageError, match="no input 'question'"):  # which the other tasks read
        model.predict(task="ask", photo=photo, question="is it red?")
    with pytest.raises(ModelError, match="a batch of task ''"):
        trained.prepared.model.losses(model.predictor_of("ask").batch([{"photo": photo}]))


def test_a_config_is_checked_with_all_its_tasks(shapes_folder):
    (shapes_folder / "three.toml").write_text(CONFIG, encoding="utf-8")
    facts = json.loads(CliRunner().invoke(app, ["check", str(shapes_folder / "three.toml"), "--json"]).stdout)
    assert facts["answer: answers"] == 5
    assert {"ask: train rows", "find: validation rows"} <= facts.keys()
    estimate = CliRunner().invoke(app, ["train", str(shapes_folder / "three.toml"), "--dry-run", "--json"])
    assert json.loads(estimate.stdout)["num_batches"] > 0


def test_the_commands(trained, shapes_folder):
    run, photo = str(trained.run), f"photo={shapes_folder / '0.png'}"
    answered = CliRunner().invoke(app, ["predict", run, "--task", "ask", "--input", photo, "--json"])
    assert json.loads(answered.stdout)["task"] == "caption"
    judged = CliRunner().invoke(app, ["evaluate", run, "--json"])
    assert set(json.loads(judged.stdout)["tasks"]) == {"answer", "ask", "find"}
    one = CliRunner().invoke(app, ["evaluate", run, "--task", "answer"])
    assert one.stdout.startswith("answer: ")
    table = str(shapes_folder / "shapes.csv")
    found = CliRunner().invoke(app, ["retrieve", run, "--input", photo, "--among", table, "--top", "1", "--json"])
    assert len(json.loads(found.stdout)["found"]) == 1
    several = CliRunner().invoke(app, ["predict", run, "--task", "ask", "--table", table, "--json"])
    assert len(json.loads(several.stdout)["predictions"]) == 120


class Cut(Exception):
    pass


@pytest.mark.parametrize("at_batch", [3, 20])
def test_cut_and_resumed_it_is_the_same_bit_for_bit(trained, shapes_folder, tmp_path, monkeypatch, at_batch):
    whole = TaskLoader.epoch
    left = at_batch

    def cut(self: TaskLoader, epoch: int, start_batch: int = 0):
        nonlocal left
        for batch in whole(self, epoch, start_batch):
            left -= 1
            if left == 0:
                raise Cut
            yield batch

    often = config(shapes_folder, **{"epochs = 3": "epochs = 3\ncheckpoint_every = 2"})
    with monkeypatch.context() as patch:
        patch.setattr(TaskLoader, "epoch", cut)
        with pytest.raises(Cut):
            train_any(often, out=tmp_path / "run", progress=Silent())
    resumed = train_any(often, out=tmp_path / "run", resume=True, progress=Silent())
    ends = [load_checkpoint(latest_whole(run)[0]) for run in (trained.run, resumed.run)]
    for kind in ("model", "optimiser"):
        one, other = (getattr(end, kind) for end in ends)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name].nan_to_num(), other[name].nan_to_num()) for name in one), kind
    assert resumed.summary()["metrics"] == trained.summary()["metrics"]
    with pytest.raises(ConfigError, match=r"tasks\.ask\.weight"):
        train_any(
            config(
                shapes_folder, **{"weight = 0.5": "weight = 0.7", "epochs = 3": "epochs = 3\ncheckpoint_every = 2"}
            ),
            out=tmp_path / "run",
            resume=True,
            progress=Silent(),
        )


def test_losses_are_weighted_means_of_nats_a_token(shapes_folder):
    prepared = prepare_tasks(
        config(shapes_folder, **{"input_dropout = 0.2": "", "[fusion.balance]": "", "dropout = 0.1": ""})
    )
    models = {name: task.model for name, task in prepared.tasks.items()}
    batch = prepared.tasks["ask"].train.batch(np.arange(8))
    batch = Batch(batch.row_id_B, batch.inputs, batch.token_BT, batch.mask_BT, "ask")
    model = MultiTaskLM(models, {"ask": 0.5}, is_uncertain=True).train()
    with torch.no_grad():
        model.log_variance["ask"].fill_(0.4)
        nll_B, num_tokens_B = models["ask"].losses(batch)
        mean = float(nll_B.sum() / num_tokens_B.sum())
        loss_B, one_B = model.losses(batch)
        assert one_B.tolist() == [1] * 8
        assert float(loss_B.mean()) == pytest.approx(0.5 * (mean * np.exp(-0.4) + 0.2), rel=1e-5)
        fixed_B, _ = MultiTaskLM(models, {"ask": 0.5}).train().losses(batch)
        assert float(fixed_B.mean()) == pytest.approx(0.5 * mean, rel=1e-5)


def test_several_seeds_have_every_tasks_metrics(shapes):
    short = config(shapes, **{"epochs = 3": "max_steps = 2"})
    summary = train_seeds(short, 2, out=None, progress=Silent(), say=lambda line: None)
    assert {"answer/accuracy", "ask/bleu4", "find/recall_at_1"} <= summary["metrics"].keys()


def test_one_task_is_taught_and_forgets(trained, shapes_folder, tmp_path):
    photo = shapes_folder / "0.png"
    run = str(sensorium.load(trained.run).save(tmp_path / "taught"))
    without = CliRunner().invoke(app, ["teach", run, "is it red?"])
    assert isinstance(without.exception, UsageError)
    before = sensorium.load(run).score("is it red?", task="ask", photo=photo)
    assert CliRunner().invoke(app, ["teach", run, "is it red?", "--task", "ask", "--weight", "500"]).exit_code == 0
    assert sensorium.load(run).score("is it red?", task="ask", photo=photo) > before
    assert "lesson-001" in CliRunner().invoke(app, ["taught", run, "--task", "ask"]).stdout
    assert CliRunner().invoke(app, ["forget", run, "--all", "--task", "ask"]).exit_code == 0
    assert sensorium.load(run).score("is it red?", task="ask", photo=photo) == before
