"""Generated clips: what is asked follows from what is filmed and heard."""

from __future__ import annotations

import csv
from collections import Counter

import numpy as np
import pytest

from sensorium.core.errors import UsageError
from sensorium.core.types import Media
from sensorium.data.synthesis.clip_table import write_clips
from sensorium.data.synthesis.clips import (
    COLOR_OF,
    DURATION_S,
    PICTURES_HZ,
    VOICE_HZ,
    caption_of_clip,
    questions_of,
    sample_clip,
)
from sensorium.data.synthesis.scenes import COLORS, DIRECTIONS
from sensorium.media.audio import read_audio
from sensorium.media.policy import MediaPolicy
from sensorium.media.video import read_video


def scenes(num: int = 200):
    return [sample_clip(np.random.default_rng([3, i])) for i in range(num)]


def test_picture_or_sound_alone_leaves_two_shapes():
    answers = []
    for scene in scenes():
        question, answer, family = questions_of(scene)[0]
        way = question.split()[3]
        movers = [s.kind for s, d in zip(scene.shapes, scene.directions, strict=True) if d == way]
        beepers = [scene.shapes[0].kind, scene.shapes[2].kind]
        assert family == "both"
        assert (len(movers), len(beepers)) == (2, 2)
        assert set(movers) & set(beepers) == {answer}
        answers.append(answer)
    assert min(Counter(answers)[kind] for kind in VOICE_HZ) > 30, "no kind gives itself away"


def test_the_way_most_shapes_move_answers_half_of_the_questions():
    for scene in scenes(50):
        asked = [question for question in questions_of(scene) if question[0].startswith("where")]
        assert [way for _, way, _ in asked] == [scene.directions[0], scene.directions[2]]
        for question, way, family in asked:
            kind = question.split()[3]
            assert (family, way) == (
                "picture",
                dict(zip((s.kind for s in scene.shapes), scene.directions, strict=True))[kind],
            )
    assert len({questions_of(scene)[2][0].split()[3] == scene.shapes[0].kind for scene in scenes(50)}) == 2


def test_what_is_filmed_moves_and_sounds_as_asked(tmp_path):
    table = write_clips(tmp_path / "out", 25, seed=5)
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 25
    for number in range(5):
        scene = sample_clip(np.random.default_rng([5, number]))
        mine = rows[5 * number : 5 * number + 5]
        assert {row["clip"] for row in mine} == {f"clips/{number:06d}.mp4"}
        assert [(r["question"], r["answer"], r["needs"]) for r in mine] == questions_of(scene)
        assert mine[0]["caption"] == caption_of_clip(scene)
        assert mine[0]["split"] == ("test" if number == 4 else "train")
        media = Media(path=tmp_path / "out" / mine[0]["clip"])
        clip = read_video(media, MediaPolicy())
        assert len(clip.time_N) == DURATION_S * PICTURES_HZ
        for shape, way in zip(scene.shapes, scene.directions, strict=True):
            colour = np.array(COLORS[COLOR_OF[shape.kind]])
            ends = []
            for picture_HW3 in (clip.frame_NHW3[0], clip.frame_NHW3[-1]):
                near = np.abs(picture_HW3.astype(int) - colour).sum(2) < 60
                ends.append(np.argwhere(near).mean(0)[::-1])
            moved = (ends[1] - ends[0]) / 64
            axis, sign = (0, DIRECTIONS[way][0]) if DIRECTIONS[way][0] else (1, DIRECTIONS[way][1])
            assert sign * moved[axis] > 0.2, (way, moved)
        sound_N = read_audio(media, MediaPolicy(), 16_000)
        first = sound_N[round(0.25 / 6 * 32_000) :][:2400]
        pitch_hz = np.abs(np.fft.rfft(first, 16_000)).argmax()
        assert pitch_hz == pytest.approx(VOICE_HZ[scene.shapes[scene.first_beeps].kind], rel=0.03)


def test_equal_seeds_give_equal_files_and_longer_tables_begin_alike(tmp_path):
    one, two = (write_clips(tmp_path / name, n, seed=1, size=16) for name, n in (("a", 5), ("b", 8)))
    assert two.read_text().startswith(one.read_text())
    clips = [folder.parent / "clips" / "000000.mp4" for folder in (one, two)]
    assert clips[0].read_bytes() == clips[1].read_bytes()


def test_bad_arguments(tmp_path):
    with pytest.raises(UsageError, match="even size"):
        write_clips(tmp_path / "a", 5, seed=0, size=33)
    with pytest.raises(UsageError, match="1 to 5 questions"):
        write_clips(tmp_path / "a", 5, seed=0, questions=6)
