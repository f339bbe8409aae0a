"""Generated clips: three shapes of different kinds that move, two of which beep.

Enters: a random generator.  Leaves: a `MovingScene` and, of it, a caption, questions with their answers, its sound
and its pictures.  Every kind has a colour, and a voice, the pitch at which it beeps.  Of the three shapes

    the subject   moves in some direction and beeps
    the silent    moves in the same direction and does not beep
    the other     beeps and moves in another direction

so that what moves so and beeps is known from picture and sound together: either alone leaves two shapes.
After CLEVR and CLEVRER (Johnson et al. 2017; Yi et al. 2020, arXiv:1910.01442), flat and small.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sensorium.data.synthesis.scene_media import RATE_HZ, picture
from sensorium.data.synthesis.scenes import COLORS, DIRECTIONS, KINDS, Scene, Shape

if TYPE_CHECKING:
    from PIL.Image import Image

NUM_QUESTIONS = 5
DURATION_S, PICTURES_HZ = 2.0, 8
VOICE_HZ = dict(zip(KINDS, (330.0, 523.0, 831.0, 1319.0), strict=True))
COLOR_OF = dict(zip(KINDS, COLORS, strict=False))
TRAVEL = 0.4
"""How far a shape goes, in widths of the picture."""

_RADIUS = (0.13, 0.16)
_NUM_BEEPS = 6  # by turns
_BEEP_S, _FADE_S = 0.15, 0.02
_LOUDNESS, _NOISE = (0.15, 0.4), 0.005
_FEWER = (0.3, 0.7)  # places along the way, so that nothing leaves the picture
_ACROSS = (0.2, 0.5, 0.8)  # lanes, so that shapes seldom cover each other


@dataclass(frozen=True, slots=True)
class MovingScene:
    """Three shapes, the way each goes, and which two beep by turns.

    Attributes:
        shapes: subject, silent and other, each halfway on its way.
        directions: of each, keys of `DIRECTIONS`.
        first_beeps: the shape that beeps first, 0 or 2.
        loudness: of the beeps, 0..1.
        ground: brightness of the background, 0..255.
        seed: of the noise beneath the sound.
    """

    shapes: tuple[Shape, Shape, Shape]
    directions: tuple[str, str, str]
    first_beeps: int
    loudness: float
    ground: int
    seed: int


def sample_clip(rng: np.random.Generator) -> MovingScene:
    """Draw a scene at random."""
    kinds: list[str] = rng.permutation(KINDS)[:3].tolist()
    ways: list[str] = rng.permutation(list(DIRECTIONS))[:2].tolist()
    lanes = rng.permutation(_ACROSS).tolist()
    shapes = []
    directions = (ways[0], ways[0], ways[1])
    for kind, way, lane in zip(kinds, directions, lanes, strict=True):
        along = float(rng.uniform(*_FEWER))
        x, y = (along, lane) if DIRECTIONS[way][0] else (lane, along)
        shapes.append(Shape(kind, COLOR_OF[kind], x, y, float(rng.uniform(*_RADIUS))))
    return MovingScene(
        shapes=(shapes[0], shapes[1], shapes[2]),
        directions=directions,
        first_beeps=int(rng.choice([0, 2])),
        loudness=float(rng.uniform(*_LOUDNESS)),
        ground=int(rng.integers(0, 50) if rng.random() < 0.5 else rng.integers(206, 256)),
        seed=int(rng.integers(2**31)),
    )


def caption_of_clip(scene: MovingScene) -> str:
    """Say which shapes go where, and which beep."""
    subject, silent, other = (shape.kind for shape in scene.shapes)
    way, _, away = scene.directions
    return f"a {subject} moves {way} and beeps, a {silent} moves {way}, a {other} moves {away} and beeps"


def questions_of(scene: MovingScene) -> list[tuple[str, str, str]]:
    """Return five questions, each with its answer and its family: one of both, one of sound, three of picture.

    Of the two shapes that move alike one is asked for: were both, the way that most shapes move would answer two
    questions of three, and nobody would need to look at the shape that is asked for.
    """
    subject, silent, other = (shape.kind for shape in scene.shapes)
    way, _, away = scene.directions
    alike = (subject, silent)[scene.seed % 2]
    return [
        (f"which shape moves {way} and beeps?", subject, "both"),
        ("which shape beeps first?", scene.shapes[scene.first_beeps].kind, "sound"),
        (f"where does the {alike} move?", way, "picture"),
        (f"where does the {other} move?", away, "picture"),
        (f"which shape moves {away}?", other, "picture"),
    ]


def clip_pictures(scene: MovingScene, size: int) -> list[Image]:
    """Draw the clip's pictures, `DURATION_S` of them at `PICTURES_HZ`."""
    num = round(DURATION_S * PICTURES_HZ)
    drawn = []
    for i in range(num):
        gone = TRAVEL * (i / (num - 1) - 0.5)
        shapes = []
        for shape, way in zip(scene.shapes, scene.directions, strict=True):
            dx, dy = DIRECTIONS[way]
            shapes.append(dataclasses.replace(shape, x=shape.x + dx * gone, y=shape.y + dy * gone))
        drawn.append(picture(Scene(tuple(shapes), scene.ground, scene.directions[0]), size))
    return drawn


def clip_sound(scene: MovingScene) -> NDArray[np.float32]:
    """Sound the clip: float32 (N,) at `scene_media.RATE_HZ`, two voices by turns over faint noise."""
    num = round(DURATION_S * RATE_HZ)
    sound_N = _NOISE * np.random.default_rng(scene.seed).standard_normal(num)
    time_M = np.arange(round(_BEEP_S * RATE_HZ)) / RATE_HZ
    fade_M = np.clip(np.minimum(time_M, time_M[-1] - time_M) / _FADE_S, 0, 1)
    for turn in range(_NUM_BEEPS):
        voice = scene.shapes[scene.first_beeps if turn % 2 == 0 else 2 - scene.first_beeps]
        begin = round((turn + 0.25) * num / _NUM_BEEPS)
        beep_M = scene.loudness * np.sin(2 * math.pi * VOICE_HZ[voice.kind] * time_M) * fade_M
        sound_N[begin : begin + len(beep_M)] += beep_M
    return sound_N.astype(np.float32)
