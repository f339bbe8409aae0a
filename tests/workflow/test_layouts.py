"""Layouts in whole models: keys checked with their place, saved, with holes and with inputs taken away."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensorium.core.config import write_toml
from sensorium.core.errors import ConfigError
from sensorium.fusion.layout import Layout
from sensorium.model.saving import build_preparers
from sensorium.workflow.api import Sensorium
from sensorium.workflow.config import RunConfig, config_from_text, load_config
from sensorium.workflow.predictor import Predictor
from sensorium.workflow.train import train

THREE = """[data]
train = "t.csv"
[inputs.photo]
modality = "image"
encoder = "cnn"
[inputs.speech]
modality = "audio"
encoder = "cnn"
[inputs.scan]
modality = "image"
encoder = "cnn"
[target]
column = "answer"
[fusion]
width = 16
"""


def parse(text: str) -> RunConfig:
    return config_from_text(text, Path("/somewhere"), "my.toml")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('layout = "seril"', "my.toml:16:1: 'fusion.layout'"),
        ('order = ["photo"]', "my.toml:16:1: 'fusion.order' says nothing in a parallel layout .*serial"),
        (
            'layout = "serial"\ngroups = [["photo"]]',
            "my.toml:17:1: 'fusion.groups' says nothing in a serial layout",
        ),
        ('layout = "hybrid"', 'my.toml:16:1: .* needs \'groups\' .*\\[\\["photo", "speech"\\], \\["scan"\\]\\]'),
        ('layout = "serial"\norder = ["photo", "spech", "scan"]', "my.toml:17:1: .*'spech' .did you mean 'speech'"),
        ('layout = "serial"\norder = ["photo", "scan"]', "my.toml:17:1: 'fusion.order' names 'speech' nowhere"),
        (
            'layout = "hybrid"\ngroups = [["photo", "scan"], ["scan", "speech"]]',
            "my.toml:17:1: 'fusion.groups' names 'scan' twice",
        ),
        ('layout = "hybrid"\ngroups = [["photo", "scan", "speech"], []]', "my.toml:17:1: .* empty group"),
        ('layout = "hybrid"\ngroups = [["photo", "scan", "speech"]]', "hybrid layout needs two groups"),
        ('features = "cross_attention"\nquery = "phto"', "my.toml:17:1: 'fusion.query' names no input: 'phto'"),
        ('features = "film"\nmodulated = "phto"', "my.toml:17:1: .*did you mean 'photo'"),
        ('features = "tensor"\nfactor = 64', "my.toml:14:2: .*274,625 terms.*factor = 19 fits"),
        ('features = "graph"\nheads = 3', "my.toml:14:2: a width of 16 is not a multiple of 3 heads"),
    ],
)
def test_layouts_that_cannot_be_meant(keys: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(THREE + keys)


HYBRID = 'layout = "hybrid"\ngroups = [["speech", "photo"], ["scan"]]\ngiven = "cross_attention"\n'


@pytest.mark.parametrize("keys", [HYBRID, 'layout = "serial"\norder = ["scan", "photo", "speech"]\n', ""])
def test_a_layout_is_written_out_and_read_back(keys: str) -> None:
    config = parse(THREE + keys)
    again = parse(write_toml(config.dump()))
    assert again.dump() == config.dump()
    assert again.model.layout_groups == config.model.layout_groups
    assert isinstance(config.model.make_fusion(), Layout) == bool(keys)


def test_a_serial_layout_takes_the_order_of_the_config() -> None:
    assert parse(THREE + 'layout = "serial"').model.layout_groups == [("photo",), ("speech",), ("scan",)]


def test_taking_inputs_away_takes_them_out_of_the_layout() -> None:
    hybrid = parse(THREE + HYBRID + 'features = "cross_attention"\nquery = "photo"').model
    fewer = hybrid.only(["photo", "scan"])
    assert fewer.layout_groups == (("photo",), ("scan",))
    assert fewer.fusion_options.query == "photo"  # type: ignore[attr-defined]
    group = hybrid.only(["photo", "speech"])
    assert (group.layout_groups, group.fusion.layout) == (None, "parallel")
    assert hybrid.only(["scan"]).fusion_options.query is None  # type: ignore[attr-defined]
    serial = parse(THREE + 'layout = "serial"\norder = ["scan", "photo", "speech"]').model
    assert serial.only(["speech", "scan"]).layout_groups == [("scan",), ("speech",)]
    assert serial.only(["scan"]).fusion.layout == "parallel"
    for config in (hybrid, fewer, group, serial, serial.only(["speech"]), hybrid.only([])):
        assert build_preparers(config).keys() == config.inputs.keys()
        fusion = config.make_fusion()
        assert (fusion is None) == (not config.inputs)


@pytest.mark.parametrize("keys", [["serial", "film"], ["hybrid", "cross_attention"]])
def test_a_run_with_a_layout_holes_and_hidden_inputs(shapes_folder: Path, tmp_path: Path, keys: list[str]) -> None:
    layout, given = keys
    changes = [f"fusion.layout={layout}", f"fusion.given={given}", "fusion.input_dropout=0.3", "training.epochs=1"]
    order = (
        ['fusion.order=["question", "photo"]'] if layout == "serial" else ['fusion.groups=[["question"],["photo"]]']
    )
    config = load_config(shapes_folder / "shapes.toml", [*changes, *order])
    result = train(config, out=tmp_path / "run")
    assert {b.name for b in result.baselines} >= {"photo only", "question only"}
    rows = [{"photo": str(shapes_folder / "0.png")}, {"question": "what color is it?"}]
    both = {**rows[0], **rows[1]}
    again = Predictor.load(tmp_path / "run")
    trained = Predictor(result.prepared.model, result.prepared.answers, config.decoding)
    assert again.score([*rows, both], ["red"] * 3) == pytest.approx(trained.score([*rows, both], ["red"] * 3))
    alone = [again.score([row], ["red"])[0] for row in (*rows, both)]
    assert alone == pytest.approx(again.score([*rows, both], ["red"] * 3), abs=1e-5)
    assert Sensorium.load(tmp_path / "run").predict(**both).text
