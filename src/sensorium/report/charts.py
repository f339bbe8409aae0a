"""Line diagrams as inline SVG: no library, no script, colours from the page's style.

Enters: curves.  Leaves: an `<svg>` that scales with its column and reads at 300 px, with a text for those who
cannot see it.  Ticks are at 1, 2 or 5 times a power of ten (Heckbert, Graphics Gems 1990, "Nice numbers").
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sensorium.report.facts import Curve
from sensorium.report.markup import Markup, tag

WIDTH, HEIGHT = 350, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 16, 10, 36
_NUM_TICKS = 5
_MOST_POINTS = 300
_TOO_NEAR, _SMALLEST = 1e-9, 1e-200


def line_chart(curves: Sequence[Curve], *, x_label: str, title: str) -> Markup:
    """Draw curves in one diagram; those without a point are left out.  At least one must have points."""
    shown = [Curve(name=c.name, points=thinned(c.points)) for c in curves if len(c.points)]
    xs = [x for curve in shown for x, _ in curve.points]
    ys = [y for curve in shown for _, y in curve.points]
    x_axis, y_axis = _Axis.over(xs, _LEFT, WIDTH - _RIGHT), _Axis.over(ys, HEIGHT - _BOTTOM, _TOP)
    return tag(
        "svg",
        _grid(x_axis, y_axis, x_label),
        [_line(curve, i, x_axis, y_axis) for i, curve in enumerate(shown)],
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{title}. {' '.join(_told(curve) for curve in shown)}",
        class_="chart",
    )


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep at most some hundred points: of each run of them the mean, so that noise does not hide the course."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    size = math.ceil(len(points) / _MOST_POINTS)
    chunks = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in c) / len(c), sum(y for _, y in c) / len(c)) for c in chunks]


def ticks(low: float, high: float, number: int = _NUM_TICKS) -> list[float]:
    """Return round values that span [low, high], about `number` of them."""
    size = max(abs(low), abs(high))
    if not high - low > max(size * _TOO_NEAR, _SMALLEST):  # one value, as far as floating point can tell
        around = size / 2 if size > _SMALLEST else 0.5
        low, high = low - around, high + around
    rough = (high - low) / max(number - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((m * power for m in (1, 2, 5) if m * power >= rough * 0.999), 10 * power)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, last + 1)]


class _Axis:
    """Maps values to pixels."""

    def __init__(self, marks: list[float], start: float, end: float) -> None:
        self.marks = marks
        self._start, self._scale = start, (end - start) / (marks[-1] - marks[0])

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        return cls(ticks(min(values), max(values)), start, end)

    def __call__(self, value: float) -> float:
        return self._start + (value - self.marks[0]) * self._scale


def _grid(x_axis: _Axis, y_axis: _Axis, x_label: str) -> list[Markup]:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = []
    for mark in y_axis.marks:
        y = f"{y_axis(mark):.1f}"
        parts.append(tag("line", x1=_LEFT, x2=right, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", f"{mark:.4g}", x=_LEFT - 6, y=f"{y_axis(mark) + 4:.1f}", class_="end"))
    for mark in x_axis.marks:
        parts.append(tag("text", _short(mark), x=f"{x_axis(mark):.1f}", y=bottom + 16, class_="middle"))
    parts.append(tag("text", x_label, x=(_LEFT + right) / 2, y=HEIGHT - 3, class_="middle"))
    return parts


def _line(curve: Curve, number: int, x_axis: _Axis, y_axis: _Axis) -> list[Markup]:
    places = [f"{x_axis(x):.1f},{y_axis(y):.1f}" for x, y in curve.points]
    parts = [tag("polyline", points=" ".join(places), class_=f"line line-{number % 6}")]
    if len(curve.points) <= 40:
        parts += [
            tag("circle", cx=f"{x_axis(x):.1f}", cy=f"{y_axis(y):.1f}", r=2.5, class_=f"dot line-{number % 6}")
            for x, y in curve.points
        ]
    return parts


def _told(curve: Curve) -> str:
    (_, first), (_, last) = curve.points[0], curve.points[-1]
    lowest = min(y for _, y in curve.points)
    return f"{curve.name}: from {first:.4g} to {last:.4g}, lowest {lowest:.4g}."


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.4g}"
