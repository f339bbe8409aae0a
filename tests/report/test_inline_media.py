"""Media on the page: small, within the budget, and never an error."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from sensorium.core.types import Media
from sensorium.media.policy import MediaPolicy
from sensorium.report.inline_media import PICTURE_PX, Inliner, cut


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a<b>.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 600, 3), np.uint8)).save(path)
    return Media(path=path)


def test_a_picture_becomes_a_small_jpeg(photo):
    (shown,) = Inliner(MediaPolicy()).show("photo", "image", photo)
    kind, data = shown.source.split(",", 1)
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (PICTURE_PX, PICTURE_PX // 2)
    assert shown.note == "a<b>.png"


def test_a_sound_becomes_the_beginning_of_an_mp3(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(30 * 8000) / 5) * 0.5, 8000)
    (shown,) = Inliner(MediaPolicy()).show("speech", "audio", Media(path=tmp_path / "a.wav"))
    data = base64.b64decode(shown.source.split(",", 1)[1])
    samples, rate = soundfile.read(io.BytesIO(data))
    assert shown.source.startswith("data:audio/mpeg")
    assert len(samples) / rate == pytest.approx(8, abs=0.2)
    assert 0.2 < np.abs(samples).mean() < 0.4
    assert len(data) < 100_000


def test_what_cannot_be_shown_is_named(tmp_path, photo):
    inliner = Inliner(MediaPolicy())
    (missing,) = inliner.show("photo", "image", Media(path=tmp_path / "gone.png"))
    assert (missing.source, missing.kind) == (None, "text")
    assert "gone.png" in missing.note
    assert "no such file" in missing.note
    (unknown,) = inliner.show("clip", "hologram", photo)
    assert unknown.note == "a<b>.png"
    (absent,) = inliner.show("photo", "image", None)
    assert absent.note == "absent"
    assert [s.note for s in inliner.show("photo", "image", (photo, photo))] == ["a<b>.png"] * 2


def test_the_budget_holds_and_what_breaks_it_is_counted(photo):
    one = len(Inliner(MediaPolicy()).show("photo", "image", photo)[0].source)
    inliner = Inliner(MediaPolicy(), max_bytes=2 * one)
    shown = [inliner.show("photo", "image", photo)[0] for _ in range(5)]
    assert [s.source is not None for s in shown] == [True, True, False, False, False]
    assert inliner.num_left_out == 3


def test_long_texts_say_how_much_more_there_is():
    assert cut("a" * 700) == "a" * 600 + " … (100 more characters)"
    assert cut("short") == "short"
