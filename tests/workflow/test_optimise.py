"""Runs made lighter: rounded weights, graphs, students; each loads and answers, and says what it cost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sensorium
from sensorium.core import int8
from sensorium.core.config import read_toml
from sensorium.core.errors import ConfigError, ModelError, UsageError
from sensorium.core.int8 import Int8Matrix
from sensorium.language.parts import unroll
from sensorium.model.distillation import Teacher
from sensorium.model.precision import SCALE, fill, packed
from sensorium.training.progress import Silent
from sensorium.workflow.config import config_from_text
from sensorium.workflow.contest import judged_rows
from sensorium.workflow.onnx_model import with_graphs
from sensorium.workflow.optimising import optimise
from sensorium.workflow.tasks_config import load_answering
from sensorium.workflow.train import train

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

[target]
column = "answer"
task = "caption"

[fusion]
width = 32

[language]
scorers = ["transformer", "ngram"]

[language.transformer]
layers = 2
width = {width}
heads = 2

[training]
epochs = {epochs}
batch_rows = 16
learning_rate = 0.004
{teaching}

[evaluation]
baselines = false
report = false
"""


def fit(folder: Path, out: Path, *, width: int = 32, epochs: int = 3, teaching: str = ""):
    text = CONFIG.format(width=width, epochs=epochs, teaching=teaching)
    return train(config_from_text(text, folder), out=out, progress=Silent())


@pytest.fixture(scope="module")
def run(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("optimise") / "large"
    fit(shapes_folder, out)
    return out


@pytest.fixture(autouse=True)
def _every_matrix_is_worthwhile(monkeypatch):
    monkeypatch.setattr(int8, "_WORTHWHILE", 0)


def test_rounded_models_answer_like_any_other_and_the_table_says_what_it_cost(run, shapes_folder):
    said = optimise(run, ["int8", "bf16"], max_rows=8)
    whole, small, half = said.measured[""]
    assert [m.name for m in said.measured[""]] == ["float32", "int8", "bf16"]
    assert json.loads((run / "optimised.json").read_text()) == json.loads(json.dumps(said.facts()))
    assert whole.same == 1
    assert small.learned_megabytes < half.learned_megabytes < whole.learned_megabytes
    assert all(m.ms_a_row > 0 and m.metrics.keys() == whole.metrics.keys() for m in (small, half))
    row = {"photo": shapes_folder / "0.png"}
    full = sensorium.load(run)
    for name in ("int8", "bf16"):
        lighter = sensorium.load(run / f"optimised-{name}")
        assert read_toml(run / f"optimised-{name}" / "config.toml")[0]["weights"] == {"precision": name}
        assert lighter.predictor.decoding == full.predictor.decoding
        assert lighter.score("yes", **row) == pytest.approx(full.score("yes", **row), abs=0.2)
    model = sensorium.load(run / "optimised-int8").predictor.model
    kept = {name for name, p in model.named_parameters() if isinstance(p, Int8Matrix)}
    assert {"scorer.parts.0.embedding.weight", "scorer.parts.0.blocks.0.mlp.inner.weight_IO"} <= kept
    want = full.predictor.model.state_dict()
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, want[name]) if name in want else True, "what was counted is untouched"


def test_a_rounded_model_is_saved_again_as_it_is(run, tmp_path):
    optimise(run, ["int8"], max_rows=2)
    once = sensorium.load(run / "optimised-int8")
    again = sensorium.load(once.save(tmp_path / "again"))
    first, second = (packed(m.predictor.model, m.predictor.model.state_dict(), "int8") for m in (once, again))
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]) or name.endswith(SCALE)


def test_graphs_write_the_same_tokens(run):
    said = optimise(run, ["onnx"], max_rows=8)
    assert said.measured[""][1].same == 1
    assert said.measured[""][1].metrics["perplexity"] == pytest.approx(
        said.measured[""][0].metrics["perplexity"], rel=1e-3
    )
    assert said.measured[""][1].notes["greedy tokens equal"] == 1
    with pytest.raises(ModelError, match=f"holds ONNX graphs.*ask the run itself: {run}"):
        sensorium.load(run / "optimised-onnx")
    model = sensorium.load(run).predictor.model
    del model.encoders["photo"]
    with pytest.raises(ModelError, match="another model"):
        with_graphs(model, run / "optimised-onnx")


def test_bad_requests(run, tmp_path):
    with pytest.raises(UsageError, match="no way 'int9'"):
        optimise(run, ["int9"])
    with pytest.raises(UsageError, match="twice"):
        optimise(run, ["int8", "int8"])
    with pytest.raises(ModelError, match="not a run folder"):
        optimise(tmp_path, ["int8"])
    with pytest.raises(UsageError, match="rows to judge by"):
        optimise(run / "model", ["int8"])


def test_scales_that_are_missing_are_named(run):
    model = sensorium.load(run).predictor.model
    tensors = packed(model, model.state_dict(), "int8")
    del tensors[next(name for name in tensors if name.endswith(SCALE))]
    with pytest.raises(ModelError, match="scales do not match"):
        fill(model, tensors, "int8")


def test_a_student_learns_what_its_teacher_says(run, shapes_folder, tmp_path):
    teaching = f'teacher = "run:{run}"\nteacher_weight = 1.0'
    student = fit(shapes_folder, tmp_path / "student", width=16, epochs=2, teaching=teaching)
    assert read_toml(student.run / "config.toml")[0]["training"]["teacher"] == f"run:{run}"
    assert sensorium.load(student.run).predictor.model.teacher is None
    said = optimise(run, ["bf16"], students=[student.run], max_rows=4)
    assert [m.name for m in said.measured[""]] == ["float32", "bf16", "student student"]


def test_the_loss_is_the_divergence_from_the_teacher(run):
    """Against itself, a model's network differs from what all its scorers say by KL >= 0; 0 where it is alone."""
    teacher, student = (sensorium.load(run).predictor.model.scored_by("transformer") for _ in range(2))
    predictor = sensorium.load(run).predictor
    batch = judged_rows(load_answering(run / "config.toml"), predictor).batch(np.arange(3))
    cond, nll_B = student.condition(batch), torch.zeros(3)
    same = Teacher(teacher, student, temperature=2.0, weight=1.0).mixed(nll_B, batch, [student.scorer], cond)
    torch.testing.assert_close(same, torch.zeros(3), atol=1e-4, rtol=0)
    whole = Teacher(predictor.model, student, temperature=2.0, weight=1.0)
    apart = whole.mixed(nll_B, batch, [student.scorer], cond)
    fed = batch.token_BT[:, :-1], batch.mask_BT[:, :-1]
    want_B = torch.zeros(3, dtype=torch.float64)
    for row in range(3):
        for t in range(int(batch.mask_BT[row].sum()) - 1):
            p, q = (
                torch.softmax(unroll(part, *fed, cond)[row, t, 2:].double() / 2, 0)
                for part in (predictor.model.scorer, student.scorer)
            )
            want_B[row] += 4 * (p * (p.log() - q.log())).sum()
    torch.testing.assert_close(apart.double(), want_B, rtol=1e-3, atol=1e-3)
    assert bool((apart > 0).all())


def test_teachers_that_cannot_teach(run, shapes_folder, tmp_path):
    with pytest.raises(ConfigError, match="is no run"):
        fit(shapes_folder, tmp_path / "a", teaching='teacher = "large"')
    with pytest.raises(ConfigError, match="is not there"):
        fit(shapes_folder, tmp_path / "b", teaching='teacher = "run:nowhere"')
    teacher, student = (sensorium.load(run).predictor.model for _ in range(2))
    student.preparers = {}
    with pytest.raises(ModelError, match="reads 'photo'"):
        Teacher(teacher, student, temperature=1.0, weight=0.5)
