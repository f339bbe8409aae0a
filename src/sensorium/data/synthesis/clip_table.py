"""Write a table of generated clips, moving and sounding: `sensorium synth clips`.

Enters: how many rows and a seed.  Leaves: a new folder with `clips.csv` and its MP4 files.  Equal arguments give
equal tables, and a longer table begins with the shorter one.  Of a clip's five questions one needs picture
and sound, one the sound, three the picture.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sensorium.core.commit import disk_error
from sensorium.core.errors import UsageError
from sensorium.data.synthesis.clips import (
    NUM_QUESTIONS,
    PICTURES_HZ,
    caption_of_clip,
    clip_pictures,
    clip_sound,
    questions_of,
    sample_clip,
)
from sensorium.data.synthesis.scene_media import write_mp4
from sensorium.data.synthesis.tables import require_new, write_table

TABLE = "clips.csv"
COLUMNS = ["clip", "question", "answer", "needs", "caption", "split"]
TEST_EVERY = 5
"""Every fifth clip is for testing."""


def write_clips(out: Path, num_rows: int, seed: int, *, size: int = 64, questions: int = NUM_QUESTIONS) -> Path:
    """Write `num_rows` rows of generated clips into the new folder `out`; returns the table's path.

    Args:
        size: of the pictures, in pixels, even.
        questions: rows, each with its question, a clip; at most `NUM_QUESTIONS`.

    Raises:
        UsageError: `out` holds something already, an odd or tiny size, or too many questions.
        DiskError: no room.
    """
    if size < 16 or size % 2:
        raise UsageError(f"pictures are of an even size from 16 pixels, not {size}")
    if not 1 <= questions <= NUM_QUESTIONS:
        raise UsageError(f"a clip has 1 to {NUM_QUESTIONS} questions, not {questions}")
    require_new(out)
    try:
        (out / "clips").mkdir(parents=True, exist_ok=True)
        write_table(out / TABLE, COLUMNS, _rows(out, num_rows, seed, size, questions))
    except OSError as error:
        raise disk_error(error, out) from error
    return out / TABLE


def _rows(out: Path, num_rows: int, seed: int, size: int, questions: int) -> Iterator[dict[str, str]]:
    for number in itertools.count():
        first = number * questions
        if first >= num_rows:
            return
        # A stream of its own for each clip: rows do not depend on how many there are.
        rng = np.random.default_rng([seed, number])
        scene = sample_clip(rng)
        name = f"clips/{number:06d}.mp4"
        write_mp4(out / name, clip_pictures(scene, size), PICTURES_HZ, clip_sound(scene))
        for which in range(first, min(first + questions, num_rows)):
            question, answer, family = questions_of(scene)[which - first]
            yield {
                "clip": name,
                "question": question,
                "answer": answer,
                "needs": family,
                "caption": caption_of_clip(scene),
                "split": "test" if number % TEST_EVERY == TEST_EVERY - 1 else "train",
            }
