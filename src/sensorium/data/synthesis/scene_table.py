"""Write a table of generated scenes with their media: `sensorium synth scenes`.

Enters: how many rows, a seed, and which media are wanted.  Leaves: a new folder with `scenes.csv` and its
pictures, speech, sounds and clips.  Equal arguments give equal tables and equal pixels; row i does not
depend on the number of rows, so a longer table begins with the shorter one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from sensorium.core.commit import disk_error
from sensorium.core.errors import UsageError
from sensorium.data.synthesis.scene_media import FRAMES, RATE_HZ, frames, picture, tones, write_mp4
from sensorium.data.synthesis.scenes import Scene, ask, caption_of, sample_scene
from sensorium.data.synthesis.tables import require_new, write_table

TABLE = "scenes.csv"
TEST_EVERY = 5
"""Every fifth scene is for testing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneOptions:
    """Say what each row has.

    Attributes:
        size: of the pictures, in pixels, even.
        questions: rows (each with its question) a scene.
        speech: the column that is spoken, None for silence; test rows have other speakers.
        sound: a tone for each shape.
        clip: a short moving picture, as an MP4, or as pictures whose paths stand in one cell, between bars.

    Raises:
        UsageError: an odd or tiny size.
    """

    size: int = 64
    questions: int = 1
    speech: Literal["question", "caption"] | None = None
    sound: bool = False
    clip: Literal["mp4", "frames"] | None = None

    def __post_init__(self) -> None:
        if self.size < 16 or self.size % 2:
            raise UsageError(f"pictures are of an even size from 16 pixels, not {self.size}")

    @property
    def columns(self) -> list[str]:
        """Return the table's columns in order."""
        wanted = {"speech": self.speech, "sound": self.sound, "clip": self.clip}
        media = [name for name, value in wanted.items() if value]
        return ["photo", "caption", "question", "answer", "label", *media, "split"]


def write_scenes(out: Path, num_rows: int, seed: int, options: SceneOptions | None = None) -> Path:
    """Write `num_rows` rows of generated scenes into the new folder `out`; returns the table's path.

    Raises:
        UsageError: `out` holds something already.
        MissingExtraError: speech without the `demo` extra.
        DiskError: no room.
    """
    options = options or SceneOptions()
    require_new(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_table(out / TABLE, options.columns, _rows(out, num_rows, seed, options))
    except OSError as error:
        raise disk_error(error, out) from error
    return out / TABLE


def _rows(out: Path, num_rows: int, seed: int, options: SceneOptions) -> Iterator[dict[str, str]]:
    media: dict[str, str] = {}
    for i in range(num_rows):
        number, which = divmod(i, options.questions)
        # A stream of its own for each scene: rows do not depend on how many there are.
        rng = np.random.default_rng([seed, number])
        scene = sample_scene(rng)
        if which == 0:
            media = _write_media(out, f"{number:06d}", scene, options)
        for _ in range(which + 1):
            question, answer = ask(scene, rng, moving=options.clip is not None)
        row = {
            **media,
            "caption": caption_of(scene, moving=options.clip is not None),
            "question": question,
            "answer": answer,
            "label": scene.label,
            "split": "test" if number % TEST_EVERY == TEST_EVERY - 1 else "train",
        }
        if options.speech is not None:
            row["speech"] = _speak(out, row[options.speech], row["split"], i)
        yield row


def _write_media(out: Path, name: str, scene: Scene, options: SceneOptions) -> dict[str, str]:
    """Write a scene's files; returns their paths, by column."""
    paths = {"photo": f"photos/{name}.png"}
    picture(scene, options.size).save(_place(out, paths["photo"]))
    if options.sound:
        from sensorium.data.synthesis.speech import write_wav

        paths["sound"] = f"sounds/{name}.wav"
        write_wav(_place(out, paths["sound"]), tones(scene), RATE_HZ)
    if options.clip == "mp4":
        paths["clip"] = f"clips/{name}.mp4"
        write_mp4(_place(out, paths["clip"]), frames(scene, options.size))
    if options.clip == "frames":
        names = [f"clips/{name}/{i:02d}.png" for i in range(FRAMES)]
        for place, one in zip(names, frames(scene, options.size), strict=True):
            one.save(_place(out, place))
        paths["clip"] = "|".join(names)
    return paths


def _speak(out: Path, text: str, split: str, row: int) -> str:
    from sensorium.data.synthesis.kept_speech import kept_speech
    from sensorium.data.synthesis.speech import voice_sets

    voices = voice_sets()[split == "test"]
    return kept_speech(text, voices[row % len(voices)], out)


def _place(out: Path, name: str) -> Path:
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
