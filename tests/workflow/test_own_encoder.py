"""An encoder that keeps the public contract and no more serves everything a config can ask of an encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import sensorium
from sensorium.core.config import Section
from sensorium.core.errors import ModelError
from sensorium.core.types import Encoded, MediaBatch, per_row
from sensorium.data.image_preparer import ImagePreparer
from sensorium.encoders import registry
from sensorium.encoders.outlet import feature_width_of, features_of
from sensorium.model.frozen import FrozenEncoder
from sensorium.testing import check_encoder
from sensorium.training.progress import Silent
from sensorium.workflow.config import config_from_text
from sensorium.workflow.explaining import explain_answer
from sensorium.workflow.optimising import optimise
from sensorium.workflow.train import train


class AverageColor(nn.Module):
    """Nothing but `modality`, `width`, `Config` and a call."""

    modality = "image"

    class Config(Section):
        size: int = 8

        def preparer(self):
            return ImagePreparer(size=self.size)

    def __init__(self, config, preparer, width):
        super().__init__()
        self.width = width
        self.project = nn.Linear(3, width)
        self.absent_D = nn.Parameter(torch.zeros(width))

    def forward(self, media: MediaBatch) -> Encoded:
        color_U3 = media.values.float().flatten(2).mean(2) / 255
        return per_row(self.project(color_U3)[:, None], None, media.row_B, self.absent_D)


CONFIG = """
[data]
train = "shapes.csv"
validation_fraction = 0.25
cache = ""
[inputs.photo]
modality = "image"
encoder = "own"
{options}
[target]
column = "answer"
task = "classify"
[fusion]
width = 16
[language]
scorers = ["readout"]
[training]
epochs = 2
batch_rows = 16
[evaluation]
report = false
"""


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENCODERS, "image.own", f"{__name__}:AverageColor")


def fit(folder: Path, out: Path, options: str) -> Path:
    train(config_from_text(CONFIG.format(options=options), folder), out=out, progress=Silent())
    return out


def test_it_keeps_the_contract():
    config = AverageColor.Config()

    def make_media(num):
        return MediaBatch(torch.randint(0, 256, (num, 3, 8, 8), dtype=torch.uint8), None, torch.arange(num))

    check_encoder(lambda: AverageColor(config, config.preparer(), 12), make_media)


def test_frozen_features_are_what_it_says_of_each_medium():
    torch.manual_seed(0)
    encoder = AverageColor(AverageColor.Config(), None, 6)
    values = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    x_UTF, mask_UT = features_of(encoder, values, None)
    assert feature_width_of(encoder) == 6 == FrozenEncoder(encoder, 4).feature_width
    assert torch.equal(x_UTF, encoder(MediaBatch(values, None, torch.arange(3))).x_BTD)
    assert bool(mask_UT.all())


@pytest.mark.parametrize("options", ["", "frozen = true", 'several = true\nseparator = "|"'])
def test_it_trains_answers_explains_and_is_saved(options, shapes_folder, tmp_path):
    run = fit(shapes_folder, tmp_path / "run", options)
    model = sensorium.load(run)
    saved = sensorium.load(model.save(tmp_path / "saved"))
    row = {"photo": shapes_folder / "0.png"}
    assert saved.score("yes", **row) == pytest.approx(model.score("yes", **row), abs=1e-5)
    if "several" not in options:
        assert explain_answer(model.predictor, row, None, methods=["occlusion"]).facts()


def test_a_frozen_one_begins_from_a_run_that_was_not(shapes_folder, tmp_path):
    first = fit(shapes_folder, tmp_path / "first", "")
    text = CONFIG.format(options="frozen = true").replace('"own"', f'"run:{first}"')
    train(config_from_text(text, shapes_folder), out=tmp_path / "second", progress=Silent())
    one, other = (sensorium.load(tmp_path / name).predictor.model for name in ("first", "second"))
    assert torch.equal(one.encoders["photo"].project.weight, other.encoders["photo"].encoder.project.weight)


def test_graphs_are_refused_in_one_sentence(shapes_folder, tmp_path):
    run = fit(shapes_folder, tmp_path / "run", "")
    with pytest.raises(ModelError, match="input 'photo' cannot be exported: its encoder has no `features`"):
        optimise(run, ["onnx"], max_rows=2)
    assert not (run / "optimised-onnx").exists()
