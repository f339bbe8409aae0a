"""Descriptions are counted on the model itself, and say what they cannot know."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sensorium.cli.describe import _describe
from sensorium.cli.describe import describe as describe_command
from sensorium.core.errors import DataError, UsageError
from sensorium.model.saving import load_model, load_pretrainer, num_parameters
from sensorium.tasks.registry import default_tokenizers
from sensorium.workflow.config import PretrainingConfig, load_config
from sensorium.workflow.describe import describe_config, describe_pretraining, describe_run
from sensorium.workflow.pretraining import pretrain
from sensorium.workflow.tasks_config import load_any
from sensorium.workflow.train import train

SCORERS = "language.scorers=['transformer','ngram']"


def test_a_run_and_its_config_are_described_alike(shapes_folder: Path, tmp_path: Path) -> None:
    config = load_config(
        shapes_folder / "shapes.toml", [SCORERS, "training.epochs=1", "evaluation.baselines=false"]
    )
    before = describe_config(config)
    train(config, out=tmp_path / "run")
    run = describe_run(tmp_path / "run")[""]
    model, _ = load_model(tmp_path / "run" / "model", default_tokenizer=default_tokenizers())
    assert before.total("learned") == run.total("learned") == num_parameters(model)
    tensors = sum(tensor.numel() for tensor in model.state_dict().values())
    assert run.total("learned") + run.total("counted") == tensors
    assert [(c.role, c.name, c.shape_out) for c in run.components] == [
        ("input", "photo", (4, 32)),
        ("input", "question", (5, 32)),
        ("fusion", "concat", (9, 32)),
        ("scorer", "transformer", (len(model.vocab),)),
        ("scorer", "ngram", (len(model.vocab),)),
        ("mix", "linear", (len(model.vocab),)),
    ]
    assert run.components[0].shape_in == (3, 16, 16)
    assert before.unknown == ["what 'ngram' counts"]
    assert not run.unknown
    assert before.mermaid == run.mermaid
    json.dumps(run.facts(), allow_nan=False)
    assert run.facts()["total"]["counted"] > before.facts()["total"]["counted"]


def test_without_data_it_says_what_is_not_known(tmp_path: Path, shapes_folder: Path) -> None:
    path = tmp_path / "shapes.toml"
    path.write_text((shapes_folder / "shapes.toml").read_text())
    description = describe_config(load_config(path))
    assert len(description.unknown) == 1
    assert re.search(r"vocabularies.*shapes\.csv", description.unknown[0])
    assert description.components[0].shape_out == (4, 32)


CHUNKS = """[data]
train = "chunks.csv"
[inputs.words]
modality = "text"
encoder = "token_features"
[target]
column = "tags"
task = "tag"
[fusion]
width = 16
[language]
scorers = ["crf"]
"""


def test_an_input_of_a_form_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "chunks.toml"
    path.write_text(CHUNKS)
    with pytest.raises(DataError, match=r"chunks\.csv"):
        describe_config(load_config(path))
    rows = ["words,tags"] + ["a￨DT dog￨NN,B-NP I-NP"] * 20
    (tmp_path / "chunks.csv").write_text("\n".join(rows), encoding="utf-8")
    description = describe_config(load_config(path))
    assert description.components[0].shape_out is None
    assert "the shape of 'words', whose form no dummy has" in description.unknown


def test_encoders_that_count_and_frozen_ones(shapes_folder: Path) -> None:
    changes = ["inputs.photo.frozen=true", "target.task=classify"]
    description = describe_config(load_config(shapes_folder / "shapes.toml", changes))
    photo = description.components[0]
    assert photo.frozen > 0
    assert photo.learned > 0
    assert "image.cnn (frozen)" in description.mermaid


@pytest.mark.parametrize(
    ("changes", "edges"),
    [
        ([], {("in0", "fusion"), ("in1", "fusion"), ("fusion", "scorer0"), ("scorer0", "next")}),
        (
            ["fusion.layout=serial", SCORERS],
            {
                ("in0", "fusion"),
                ("in1", "given1"),
                ("in0", "given1"),
                ("given1", "fusion"),
                ("fusion", "scorer0"),
                ("scorer0", "mix"),
                ("scorer1", "mix"),
                ("mix", "next"),
            },
        ),
        (
            ["language.scorers=['naive_bayes']", "target.task=classify"],
            {("in0", "fusion"), ("in1", "fusion"), ("in1", "scorer0"), ("scorer0", "next")},
        ),
    ],
)
def test_the_diagram_has_these_edges(
    shapes_folder: Path, tmp_path: Path, changes: list[str], edges: set[tuple[str, str]]
) -> None:
    text = (shapes_folder / "shapes.toml").read_text()
    if any("naive_bayes" in change for change in changes):
        text = text.replace("[language.transformer]\nlayers = 1\nwidth = 32\nheads = 2\n", "")
    path = shapes_folder / f"describe_{tmp_path.name}.toml"
    path.write_text(text)
    lines = describe_config(load_config(path, changes)).mermaid.splitlines()
    assert lines[0] == "flowchart LR"
    found = {m.group(1, 3) for line in lines if (m := re.fullmatch(r"  (\w+) (-->|-\.->) (\w+)", line))}
    assert found == edges
    nodes = {m[1] for line in lines if (m := re.fullmatch(r'  (\w+)\["[^"]+"\]', line))}
    assert {end for edge in found for end in edge} <= nodes
    assert len(lines) == 1 + len(found) + len(nodes), "every line is a node or an edge"


def test_hybrid_groups_are_nodes(shapes_folder: Path, tmp_path: Path) -> None:
    text = (shapes_folder / "shapes.toml").read_text()
    extra = '[inputs.hint]\nmodality = "text"\nencoder = "embedding"\ncolumn = "question"\n\n[target]'
    path = shapes_folder / "hybrid.toml"
    path.write_text(text.replace("[target]", extra))
    groups = 'fusion.groups=[["photo", "question"], ["hint"]]'
    diagram = describe_config(load_config(path, ["fusion.layout=hybrid", groups])).mermaid
    for line in ("in0 --> group0", "in1 --> group0", "in2 --> given1", "group0 -.-> given1", "given1 --> fusion"):
        assert f"  {line}\n" in diagram
    assert 'group0["concat of photo+question"]' in diagram


def test_a_run_takes_no_changes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a run is what it is"):
        _describe(tmp_path, ["fusion.width=3"])


PRETRAINING = """[data]
train = "shapes.csv"
[inputs.photo]
modality = "image"
encoder = "cnn"
size = 16
[inputs.question]
modality = "text"
encoder = "embedding"
[fusion]
width = 32
[fusion.alignment]
inputs = ["photo", "question"]
[objectives]
masked = { photo = 0.5, question = 0.15 }
[objectives.matching]
inputs = ["photo", "question"]
[training]
max_steps = 1
[evaluation]
report = false
"""


def test_a_pretraining_config_and_its_run_are_described_alike(
    shapes_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shapes_folder / "before.toml"
    path.write_text(PRETRAINING)
    config = load_any(path)
    assert type(config) is PretrainingConfig
    pretrain(config, out=tmp_path / "run")
    before, run = _describe(path, [])[""], _describe(tmp_path / "run", [])[""]
    assert before.facts() == run.facts()
    assert (run.task, run.vocabulary, run.unknown) == ("pretrain", 0, [])
    model = load_pretrainer(tmp_path / "run" / "model")
    assert run.total("learned") == num_parameters(model)
    assert [(c.role, c.name, c.shape_out) for c in run.components] == [
        ("input", "photo", (16, 32)),
        ("input", "question", (1, 32)),
        ("fusion", "concat", (17, 32)),
        ("alignment", "alignment", None),
        ("objective", "masked photo", None),
        ("objective", "masked question", None),
        ("objective", "matching", None),
    ]
    assert all(c.learned > 0 for c in run.components if c.role == "objective")
    for line in ("fusion --> objective0", "fusion --> objective2", "in0 --> alignment", "in1 --> alignment"):
        assert f"  {line}\n" in run.mermaid
    assert "log p" not in run.mermaid
    describe_command(path)
    out = capsys.readouterr().out
    assert out.startswith("task pretrain; layout parallel; width 32\n")
    assert "objective masked photo" in out
    describe_command(tmp_path / "run", as_json=True)
    assert json.loads(capsys.readouterr().out)["task"] == "pretrain"
    (shapes_folder / "shapes.csv").rename(shapes_folder / "gone.csv")
    unread = describe_pretraining(config)
    (shapes_folder / "gone.csv").rename(shapes_folder / "shapes.csv")
    assert re.search(r"vocabularies.*shapes\.csv", unread.unknown[0])
    assert [c.shape_out for c in unread.components] == [c.shape_out for c in run.components]
