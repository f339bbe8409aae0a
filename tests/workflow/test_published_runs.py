"""Published networks in whole runs: trained, saved, and asked again where the source is gone."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from published_folders import CASES

import sensorium
from sensorium.core.errors import ConfigError, ModelError
from sensorium.model.frozen import FeaturePreparer
from sensorium.training.progress import Silent
from sensorium.workflow.config import config_from_text
from sensorium.workflow.predictor import Predictor
from sensorium.workflow.train import RunResult, train

Folder = Callable[[str], Path]
COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230)}
TONES = {"red": 300, "green": 900, "blue": 2400}
REST = """
[target]
column = "answer"
task = "classify"
[fusion]
features = "concat"
width = 16
[language]
scorers = ["transformer"]
[language.transformer]
layers = 1
width = 16
heads = 2
[training]
max_steps = 3
batch_rows = 6
learning_rate = 0.01
[evaluation]
baselines = false
"""
MODALITY = {"question": "text", "photo": "image", "speech": "audio"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of texts, pictures and sounds that all say a colour; some rows lack something."""
    folder = tmp_path_factory.mktemp("colors")
    draw = np.random.default_rng(0)
    rows = []
    for i in range(24):
        name = list(COLORS)[i % 3]
        Image.new("RGB", (20, 18), COLORS[name]).save(folder / f"{i}.png")
        time_N = np.arange(2400 + 300 * (i % 4)) / 16_000
        noise_N = draw.standard_normal(len(time_N)) / 100
        soundfile.write(folder / f"{i}.wav", np.sin(2 * np.pi * TONES[name] * time_N) / 2 + noise_N, 16_000)
        cells = [f"is it {name} ?", f"{i}.png", f"{i}.wav"]
        if i % 8 > 4:
            cells[i % 8 - 5] = ""
        rows.append([*cells, name])
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["question", "photo", "speech", "answer"], *rows])
    return folder


def config_text(encoders: dict[str, str], cache: str = "") -> str:
    inputs = "".join(
        f'[inputs.{name}]\nmodality = "{MODALITY[name]}"\nencoder = {lines}\n' for name, lines in encoders.items()
    )
    return f'[data]\ntrain = "rows.csv"\ncache = "{cache}"\n{inputs}{REST}'


def run(folder: Path, out: Path, encoders: dict[str, str], cache: str = "") -> RunResult:
    return train(config_from_text(config_text(encoders, cache), folder), out=out, progress=Silent())


ROWS = [{"question": "is it red ?", "photo": "0.png", "speech": "1.wav"}, {"photo": "2.png"}, {"speech": "2.wav"}]


def predictions(model: sensorium.Sensorium, folder: Path) -> list[tuple[str, float]]:
    """Return what a model says of rows of which some lack an input that it knows."""
    known = model.predictor.model.encoders
    rows = [{n: str(folder / c) if "." in c else c for n, c in row.items() if n in known} for row in ROWS]
    return [(one.text, one.probability) for one in model.predict([row for row in rows if row])]


def of_result(result: RunResult) -> sensorium.Sensorium:
    predictor = Predictor(result.prepared.model, result.prepared.answers, result.decoding)
    return sensorium.Sensorium(predictors={"": predictor})


def same(got: list[tuple[str, float]], want: list[tuple[str, float]]) -> bool:
    return [text for text, _ in got] == [text for text, _ in want] and [p for _, p in got] == pytest.approx(
        [p for _, p in want], abs=1e-5
    )


def published_again(result: RunResult, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors that an input's network began with."""
    choice = result.prepared.model.config.inputs[name]
    preparer = choice.options.preparer().fit([])
    encoder = choice.encoder(choice.options, preparer, 16).load_pretrained()
    return dict(encoder.network.named_parameters())


NAMES = {modality: [n for n, case in CASES.items() if case.modality == modality] for modality in MODALITY.values()}
TOGETHER = [
    {name: NAMES[modality][i % len(NAMES[modality])] for name, modality in MODALITY.items()}
    for i in range(max(map(len, NAMES.values())))
]


@pytest.mark.parametrize(
    "together",
    # Twelve architectures always, the others before a release.
    [pytest.param(chosen, marks=[pytest.mark.slow] if i >= 4 else []) for i, chosen in enumerate(TOGETHER)],
    ids=lambda chosen: "+".join(chosen.values()),
)
def test_trained_saved_and_asked_again_where_the_source_is_gone(
    together: dict[str, str], folder: Path, published: Folder, tmp_path: Path
) -> None:
    copies = {name: shutil.copytree(published(kind), tmp_path / kind) for name, kind in together.items()}
    result = run(folder, tmp_path / "run", {name: f'"hf:{copy}"' for name, copy in copies.items()})
    for name, copy in copies.items():
        learned, begun = result.prepared.model.encoders[name].network, published_again(result, name)
        moved = {n: float((p - begun[n]).abs().max()) for n, p in learned.named_parameters()}
        assert 0 < max(moved.values()) < 0.1, "it began as published, and learned"
        shutil.rmtree(copy)
    want = predictions(of_result(result), folder)
    assert same(predictions(sensorium.load(tmp_path / "run" / "model"), folder), want)
    assert same(predictions(sensorium.load(tmp_path / "run"), folder), want)


def test_a_frozen_network_runs_once_and_is_its_features(folder: Path, published: Folder, tmp_path: Path) -> None:
    kinds = {"question": "bert", "photo": "resnet", "speech": "whisper"}
    copies = {name: shutil.copytree(published(kind), tmp_path / kind) for name, kind in kinds.items()}
    encoders = {name: f'"hf:{copy}"\nfrozen = true' for name, copy in copies.items()}
    result = run(folder, tmp_path / "run", encoders, cache=str(tmp_path / "cache"))
    for name in kinds:
        preparer = result.prepared.model.preparers[name]
        assert isinstance(preparer, FeaturePreparer)
        begun = published_again(result, name)
        kept = result.prepared.model.encoders[name].encoder.network
        assert all(torch.equal(p, begun[n]) for n, p in kept.named_parameters())
    calls: list[str] = []
    for name in kinds:
        network = result.prepared.model.encoders[name].encoder.network
        network.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    again = run(folder, tmp_path / "again", encoders, cache=str(tmp_path / "cache"))
    assert not calls
    for copy in copies.values():
        shutil.rmtree(copy)
    assert same(
        predictions(sensorium.load(tmp_path / "run" / "model"), folder), predictions(of_result(again), folder)
    )


@pytest.mark.parametrize(
    ("lines", "still", "moving"),
    [
        (
            "frozen_layers = 5",
            "network.embeddings.word_embeddings.weight",
            "network.encoder.layer.1.output.dense.weight",
        ),
        (
            "rate_decay = 0.1",
            "network.embeddings.word_embeddings.weight",
            "network.encoder.layer.1.output.dense.weight",
        ),
        (
            "lora = { rank = 2 }",
            "network.encoder.layer.1.output.dense.base.weight",
            "network.encoder.layer.1.output.dense.b_OR",
        ),
        (
            "gradient_checkpointing = true\nlayer = 1\npooling = 'mean'",
            "",
            "network.encoder.layer.0.output.dense.weight",
        ),
    ],
)
def test_partly_trained(
    lines: str, still: str, moving: str, folder: Path, published: Folder, tmp_path: Path
) -> None:
    copy = shutil.copytree(published("bert"), tmp_path / "bert")
    result = run(folder, tmp_path / "run", {"question": f'"hf:{copy}"\n{lines}'})
    options = result.prepared.model.config.inputs["question"].options
    encoder = result.prepared.model.encoders["question"]
    begun = type(encoder)(options, options.preparer().fit([]), 16).load_pretrained().state_dict()
    moved = {n: float((x - begun[n]).abs().max()) for n, x in encoder.state_dict().items()}
    assert moved[moving] > 1e-3
    assert not still or moved[still] < 0.1 * moved[moving]
    shutil.rmtree(copy)
    assert same(
        predictions(sensorium.load(tmp_path / "run" / "model"), folder), predictions(of_result(result), folder)
    )


def test_a_folder_beside_the_config_is_meant(folder: Path, published: Folder, tmp_path: Path) -> None:
    shutil.copytree(published("bert"), tmp_path / "networks" / "bert")
    config = config_from_text(config_text({"question": '"hf:networks/bert"'}), tmp_path)
    assert config.model.inputs["question"].options.source == str((tmp_path / "networks" / "bert").resolve())


def test_a_run_takes_an_encoder_whose_source_is_gone(folder: Path, published: Folder, tmp_path: Path) -> None:
    copy = shutil.copytree(published("bert"), tmp_path / "bert")
    first = run(folder, tmp_path / "first", {"question": f'"hf:{copy}"'})
    shutil.rmtree(copy)
    second = run(folder, tmp_path / "second", {"question": f'"run:{tmp_path / "first"}#question"\nfrozen = true'})
    theirs, ours = first.prepared.model.encoders["question"], second.prepared.model.encoders["question"]
    assert all(torch.equal(x, ours.encoder.network.state_dict()[n]) for n, x in theirs.network.state_dict().items())


@pytest.mark.parametrize(
    ("name", "lines", "error", "reason"),
    [
        ("question", '"hf:gone/../nowhere"', ModelError, "no such folder"),
        ("question", '"hf:"', ConfigError, "nothing after"),
        ("question", '"hf"', ConfigError, "'inputs.question.source' is missing"),
        ("question", '"hf:BERT"\nrevision = "main"', ConfigError, "a folder has no revisions"),
        ("question", '"hf:BERT"\nlora = { rank = 2 }\nfrozen = true', ConfigError, "adapters learn nothing"),
        ("question", '"hf:BERT"\nlora = { targets = ["nowhere"] }', ConfigError, "'nowhere' names no linear layer"),
        ("question", '"hf:BERT"\npoolings = "mean"', ConfigError, "did you mean 'pooling'"),
        ("photo", '"hf:BERT"', ModelError, "image processor"),
    ],
)
def test_refused(
    name: str, lines: str, error: type[Exception], reason: str, folder: Path, published: Folder, tmp_path: Path
) -> None:
    with pytest.raises(error, match=reason):
        run(folder, tmp_path / "run", {name: lines.replace("BERT", str(published("bert")))})
