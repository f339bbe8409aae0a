"""Clips from table to model, report, explanation and summary, as a user types it."""

from __future__ import annotations

import itertools
import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sensorium.cli.main import app
from sensorium.core.errors import UsageError

sys.path.append(str(Path(__file__).parents[1] / "media"))
from filming import film

CONFIG = """
[data]
train = "clips/clips.csv"
split_column = "split"
cache = ""

[inputs.clip]
modality = "video"
encoder = "frames"
num_frames = 3
hidden = 16

[inputs.clip.frame_encoder]
encoder = "cnn"
size = 16
channels = [8]
grid = 2

[inputs.sound]
modality = "audio"
column = "clip"
encoder = "cnn"
num_mels = 20
hop_ms = 40
channels = [8]

[target]
column = "caption"
task = "caption"

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
max_steps = 2

[evaluation]
baselines = false
max_rows = 10
"""


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    facts = json.loads(run("synth", "clips", "--out", folder / "clips", "--rows", 50, "--size", 32, "--json"))
    assert facts["rows"] == 50
    (folder / "clips.toml").write_text(CONFIG)
    run("train", folder / "clips.toml", "--out", folder / "run", "--json")
    return folder


def test_a_caption_of_picture_and_sound(trained):
    clip = trained / "clips" / "clips" / "000000.mp4"
    both = json.loads(
        run("predict", trained / "run", "--input", f"clip={clip}", "--input", f"sound={clip}", "--json")
    )
    assert both["task"] == "caption"
    alone = json.loads(run("predict", trained / "run", "--input", f"clip={clip}", "--json"))
    assert alone["probability"] != both["probability"], "the sound says something"


def test_report_description_and_guessed_config(trained):
    page = (trained / "run" / "report.html").read_text()
    assert page.count("data:image/jpeg;base64") >= 1, "a strip of pictures"
    assert page.count("data:audio/mpeg") >= 1, "and the clip's own sound"
    described = run("describe", trained / "run")
    assert "video" in described
    assert "8 x 3 x 17 x 16" not in described
    run("init", trained / "clips" / "clips.csv")
    text = (trained / "clips" / "clips.toml").read_text()
    assert 'modality = "video"\nencoder = "frames"' in text


def test_explanation_with_a_strip(trained):
    clip = trained / "clips" / "clips" / "000000.mp4"
    out = trained / "why"
    run("explain", trained / "run", "--input", f"clip={clip}", "--input", f"sound={clip}", "--out", out,
        "--map", "occlusion", "--map", "integrated_gradients")  # fmt: skip
    for method in ("occlusion", "integrated_gradients"):
        assert (out / f"clip.{method}.png").stat().st_size > 1000
        lines = (out / f"clip.{method}.csv").read_text().splitlines()
        assert len(lines) == 1 + 3, "one line a picture"


@pytest.mark.parametrize("style", ["txt", "srt", "json", "html"])
def test_summary(trained, style):
    clip = film(trained / f"film_{style}.mp4", num=48, keyint=6, sound_s=4.0, options={"qp": "10"})
    run("summarise", trained / "run", clip, "--segments", 3, "--format", style, "--out", trained / "sums")
    text = (trained / "sums" / f"film_{style}.{style}").read_text()
    if style == "json":
        facts = json.loads(text)
        segments = facts["segments"]
        assert 1 <= len(segments) <= 3
        assert segments[0]["start_s"] == 0
        assert segments[-1]["end_s"] == facts["duration_s"] == pytest.approx(4.0, abs=0.01)
        for one, after in itertools.pairwise(segments):
            assert one["end_s"] == after["start_s"], "segments follow each other"
        assert all(s["start_s"] <= s["key_s"] < s["end_s"] for s in segments)
    if style == "srt":
        assert re.match(r"1\n00:00:00,000 --> 00:00:0\d,\d{3}\n", text)
    if style == "html":
        assert "<script" not in text
        assert not re.search(r'(src|href)="(?!data:)', text), "nothing is fetched"
        assert text.count("data:image/jpeg") == text.count("<li>")
    if style == "txt":
        assert text.startswith("00:00:00.000 - ")


def test_bad_summaries(trained):
    arguments = ["summarise", str(trained / "run"), str(trained / "clips.toml")]
    assert CliRunner().invoke(app, arguments).exit_code == 3
    with pytest.raises(UsageError, match="no summary format 'doc'"):
        run(*arguments, "--format", "doc")
