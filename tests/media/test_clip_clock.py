"""A clip's pictures and its sound are of one clock: seconds count from the first of them to begin."""

from __future__ import annotations

import numpy as np
import pytest
from filming import film, level

from sensorium.core.types import Media
from sensorium.media.audio import read_audio
from sensorium.media.policy import MediaPolicy
from sensorium.media.video import clip_facts, read_video

POLICY = MediaPolicy()
PRIMING_S = 0.07  # what AAC puts before a sound, at 16 kHz


def onset_s(media: Media) -> float:
    return float(np.flatnonzero(np.abs(read_audio(media, POLICY)) > 0.1)[0]) / 16_000


@pytest.mark.parametrize("ending", ["mkv", "mp4", "ts"])
def test_a_sound_that_begins_later_is_silent_until_then(tmp_path, ending):
    clip = Media(path=film(tmp_path / f"a.{ending}", 24, sound_s=1.0, sound_at_s=0.75))
    assert onset_s(clip) == pytest.approx(0.75, abs=0.01)
    assert clip_facts(clip, POLICY).sound_start_s == pytest.approx(0.75, abs=PRIMING_S)
    part = Media(path=clip.path, span_s=(0.5, 1.25))
    assert onset_s(part) == pytest.approx(0.25, abs=0.01)
    assert len(read_audio(part, POLICY)) == 0.75 * 16_000
    assert read_video(part, POLICY).frame_NHW3[0].mean() == pytest.approx(level(6), abs=3)


def test_pictures_that_begin_later_are_cut_by_the_clips_clock(tmp_path):
    ticks = [60 + 10 * i for i in range(24)]  # half a second after the sound
    clip = Media(path=film(tmp_path / "a.mkv", 24, sound_s=2.0, ticks=ticks))
    assert onset_s(clip) == pytest.approx(0, abs=0.01)
    assert clip_facts(clip, POLICY).pictures_start_s == pytest.approx(0.5, abs=0.01)
    part = read_video(Media(path=clip.path, span_s=(1.0, 1.5)), POLICY)
    assert part.frame_NHW3[0].mean() == pytest.approx(level(6), abs=3)
    assert part.time_N.tolist() == pytest.approx([n / 12 for n in range(6)], abs=2e-3)


def test_a_sound_alone_has_its_own_clock(tmp_path):
    sound = Media(path=film(tmp_path / "a.mp4", sound_s=1.0, sound_at_s=0.75, pictures=False))
    assert onset_s(sound) == pytest.approx(0, abs=PRIMING_S)
