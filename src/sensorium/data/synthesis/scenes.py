"""Generated scenes: a few coloured shapes, what is said of them, and what is asked.

Enters: a random generator.  Leaves: a `Scene` and, of it, a caption, a question with its answer and a
class label, all true by construction.  In one scene every kind of shape stands at most once, so that
"the circle" is never ambiguous.  After CLEVR (Johnson et al. 2017, arXiv:1612.06890) and easy-VQA, flat and small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

KINDS = ("circle", "square", "triangle", "diamond")
COLORS = {
    "red": (214, 45, 48),
    "green": (46, 160, 67),
    "blue": (45, 98, 219),
    "yellow": (238, 196, 32),
    "purple": (138, 66, 190),
}
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
COUNTS = ("zero", "one", "two", "three")

_GRID = 3
_JITTER = 0.03
_SUBJECT_RADIUS = (0.125, 0.15)
_OTHER_RADIUS = (0.075, 0.095)
_APART = 0.1  # of the width: nearer than this, two shapes are not said to be beside each other


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape; place and radius are in widths of the picture, y downwards."""

    kind: str
    color: str
    x: float
    y: float
    radius: float

    @property
    def name(self) -> str:
        """Return its noun phrase without article, such as "red circle"."""
        return f"{self.color} {self.kind}"


@dataclass(frozen=True, slots=True)
class Scene:
    """One to three shapes, the subject (the largest) first, on a grey ground.

    Attributes:
        ground: brightness of the background, 0..255.
        direction: where the subject goes in the clip, a key of `DIRECTIONS`.
    """

    shapes: tuple[Shape, ...]
    ground: int
    direction: str

    @property
    def subject(self) -> Shape:
        """Return the largest shape."""
        return self.shapes[0]

    @property
    def label(self) -> str:
        """Return the class: what kind of shape the largest one is."""
        return self.subject.kind


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene at random: places are distinct cells of a 3 x 3 grid, slightly shaken."""
    num_shapes = int(rng.integers(1, 4))
    kinds: list[str] = rng.permutation(KINDS)[:num_shapes].tolist()
    colors = rng.choice(list(COLORS), size=num_shapes).tolist()
    cells = rng.permutation(_GRID * _GRID)[:num_shapes].tolist()
    shapes = []
    for i, (kind, color, cell) in enumerate(zip(kinds, colors, cells, strict=True)):
        row, column = divmod(cell, _GRID)
        dx, dy = rng.uniform(-_JITTER, _JITTER, 2).tolist()
        radius = float(rng.uniform(*(_OTHER_RADIUS if i else _SUBJECT_RADIUS)))
        shapes.append(Shape(kind, color, (column + 0.5) / _GRID + dx, (row + 0.5) / _GRID + dy, radius))
    ground = int(rng.integers(0, 50) if rng.random() < 0.5 else rng.integers(206, 256))
    return Scene(tuple(shapes), ground, str(rng.choice(list(DIRECTIONS))))


def caption_of(scene: Scene, *, moving: bool = False) -> str:
    """Describe a scene in one sentence; `moving` says also where the subject goes."""
    first, *others = scene.shapes
    if not others:
        sentence = f"a {first.name}"
    elif len(others) == 1:
        sentence = f"a {first.name} {relation(first, others[0])} a {others[0].name}"
    else:
        sentence = f"a {first.name} with a {others[0].name} and a {others[1].name}"
    return f"{sentence}, moving {scene.direction}" if moving else sentence


def relation(one: Shape, other: Shape) -> str:
    """Say where `one` is as seen from `other`, along the axis on which they are farther apart."""
    dx, dy = one.x - other.x, one.y - other.y
    if abs(dx) >= abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def ask(scene: Scene, rng: np.random.Generator, *, moving: bool = False) -> tuple[str, str]:
    """Draw a question about `scene`; returns it and its answer.  Yes and no are equally frequent."""
    kinds: list[Callable[[Scene, np.random.Generator], tuple[str, str] | None]]
    kinds = [_ask_color, _ask_shape, _ask_presence, _ask_number, _ask_place]
    if moving:
        kinds.append(_ask_direction)
    for i in rng.permutation(len(kinds)):
        found = kinds[int(i)](scene, rng)
        if found is not None:
            return found
    raise AssertionError("the number of shapes can always be asked")


def _ask_color(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    shape = _any(scene.shapes, rng)
    return f"what color is the {shape.kind}?", shape.color


def _ask_shape(scene: Scene, rng: np.random.Generator) -> tuple[str, str] | None:
    colors = [shape.color for shape in scene.shapes]
    alone = [shape for shape in scene.shapes if colors.count(shape.color) == 1]
    if not alone:
        return None
    shape = _any(tuple(alone), rng)
    return f"what shape is {shape.color}?", shape.kind


def _ask_presence(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    there = {shape.name for shape in scene.shapes}
    if rng.random() < 0.5:
        return f"is there a {rng.choice(sorted(there))}?", "yes"
    shape = _any(scene.shapes, rng)
    # One word is true of the scene, so that neither word alone gives the answer away.
    near = {f"{color} {shape.kind}" for color in COLORS} | {f"{shape.color} {kind}" for kind in KINDS}
    return f"is there a {rng.choice(sorted(near - there))}?", "no"


def _ask_number(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    if rng.random() < 0.5:
        return "how many shapes are there?", COUNTS[len(scene.shapes)]
    color = str(rng.choice(list(COLORS))) if rng.random() < 0.5 else _any(scene.shapes, rng).color
    number = sum(shape.color == color for shape in scene.shapes)
    return f"how many shapes are {color}?", COUNTS[number]


def _ask_place(scene: Scene, rng: np.random.Generator) -> tuple[str, str] | None:
    if len(scene.shapes) < 2:
        return None
    one, other = (scene.shapes[i] for i in rng.permutation(len(scene.shapes))[:2])
    if max(abs(one.x - other.x), abs(one.y - other.y)) < _APART:
        return None
    true = relation(one, other)
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}[true]
    says, answer = (true, "yes") if rng.random() < 0.5 else (opposite, "no")
    return f"is the {one.kind} {says} the {other.kind}?", answer


def _ask_direction(scene: Scene, _rng: np.random.Generator) -> tuple[str, str]:
    return f"where does the {scene.subject.kind} move?", scene.direction


def _any(shapes: tuple[Shape, ...], rng: np.random.Generator) -> Shape:
    return shapes[int(rng.integers(len(shapes)))]
