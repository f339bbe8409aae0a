"""Explanations as pictures: modality bars, maps over photos, spectrograms and words, each with its curves.

Enters: contributions, or a map.  Leaves: two files, STEM.png and STEM.svg.  How a map is laid over its input is
named by the preparer's `hiding.picture`; a new way costs one function and one line in `PICTURES`.  Red speaks for
the text, blue against it.  Figures are made without pyplot, so no display or global state is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sensorium.core.errors import MissingExtraError
from sensorium.data.time_code import parted
from sensorium.explain.curves import Check
from sensorium.explain.maps import PlaceMap
from sensorium.explain.shapley import Contributions
from sensorium.explain.windows import pooled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 5
"""Maps of one picture: the whole text's, then the first tokens'; the CSV has them all."""
FOR, AGAINST, QUIET = "#b2182b", "#2166ac", "#777777"
UNITS = {"log_p": "log p, nats", "probability": "probability"}


def draw_contributions(given: Contributions, blind: float, stem: Path) -> list[Path]:
    """Draw a bar an input, from the value without inputs to the value with all; the blind value is a line.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DiskError: no room.
    """
    figure = _figure(7.0, 1.5 + 0.45 * len(given.names))
    axes = figure.add_subplot()
    reached = given.empty
    for y, phi in enumerate(given.shapley.values()):
        axes.barh(y, phi, left=reached, height=0.6, color=FOR if phi >= 0 else AGAINST)
        axes.plot([reached + phi] * 2, [y - 0.3, y + 1.3], color=QUIET, linewidth=0.8)
        reached += phi
    labels = [f"{name}  {phi:+.3g}" for name, phi in given.shapley.items()]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    for x, style, what in [(given.empty, ":", "nothing shown"), (blind, "--", "blind"), (given.full, "-", "all")]:
        axes.axvline(x, color="black", linestyle=style, linewidth=1.2, label=f"{what} {x:.3g}")
    axes.set_xlabel(UNITS.get(given.value, given.value))
    axes.margins(x=0.05)
    of_rows = "" if given.num_rows == 1 else f", mean of {given.num_rows:,} rows"
    axes.set_title(f"What each input gave (Shapley value{of_rows})", fontsize=10, loc="left")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    return _saved(figure, stem)


def draw_map(found: PlaceMap, stem: Path) -> list[Path]:
    """Draw a map over its input, for the whole text and its first tokens, and the whole map's curves beside it.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DiskError: no room.
    """
    shown = [("whole text", found.whole), *zip(found.tokens, found.map_T, strict=True)][:MOST_PANELS]
    layout, draw = PICTURES.get(found.picture, PICTURES["spectrogram"])
    figure = _figure(*layout(found, len(shown)))
    columns = len(shown) if layout is _side_by_side else 1
    grid = figure.add_gridspec(len(shown) // columns, columns + 1, width_ratios=_ratios(columns))
    for number, (token, map_P) in enumerate(shown):
        axes = figure.add_subplot(grid[number // columns, number % columns])
        draw(axes, found, map_P)
        axes.set_title(token, fontsize=9, loc="left")
    _curves(figure.add_subplot(grid[:, columns]), found.check)
    figure.suptitle(f"{found.name}, {found.method.replace('_', ' ')}", fontsize=10, x=0.01, ha="left")
    return _saved(figure, stem)


def overlay(axes: Axes, found: PlaceMap, map_P: Tensor) -> None:
    """Lay a map, half a tile pooled, over the picture as the encoder sees it, in pale grey."""
    grey_HW = found.values[0].float().mean(0)
    axes.imshow(grey_HW.numpy(), cmap="gray", vmin=-200, vmax=255)
    map_P = pooled(map_P[None], [max(1, size // 2) for size in found.tile])[0]
    axes.imshow(map_P.numpy(), cmap="RdBu_r", alpha=_strength(map_P).numpy() * 0.85, **_limits(map_P))
    axes.set_axis_off()


def spectrogram(axes: Axes, found: PlaceMap, map_P: Tensor) -> None:
    """Colour the spans of a spectrogram, time in seconds to the right, bands upward."""
    frames_FT = found.values[0].flatten(1).float().T
    num_bands, num_frames = frames_FT.shape
    extent = (0.0, num_frames * found.step_s, 0.0, float(num_bands))
    axes.imshow(frames_FT.numpy(), cmap="gray_r", origin="lower", aspect="auto", extent=extent)
    spans_FT = map_P.view(1, -1).expand(num_bands, -1)
    alpha_FT = _strength(map_P).view(1, -1).expand(num_bands, -1) * 0.7
    axes.imshow(
        spans_FT.numpy(),
        cmap="RdBu_r",
        alpha=alpha_FT.numpy(),
        origin="lower",
        aspect="auto",
        extent=extent,
        **_limits(map_P),
    )
    axes.set_xlabel("seconds", fontsize=8)
    axes.set_yticks([])
    axes.tick_params(labelsize=8)


def strip(axes: Axes, found: PlaceMap, map_P: Tensor) -> None:
    """Show a clip's pictures side by side, each framed by its number's colour, its time and number below."""
    import matplotlib

    picture_NCSS, time_N = parted(found.values[0])
    side = picture_NCSS.shape[-1]
    limits, strength = _limits(map_P), _strength(map_P).tolist()
    row_HWC = torch.cat(list(picture_NCSS), dim=2).permute(1, 2, 0).clamp(0, 255) / 255
    axes.imshow(row_HWC.numpy())
    colour = matplotlib.colormaps["RdBu_r"]
    for n, (number, alpha, time_s) in enumerate(zip(map_P.tolist(), strength, time_N.tolist(), strict=True)):
        face = (*colour((number - limits["vmin"]) / (limits["vmax"] - limits["vmin"]))[:3], 0.15 + 0.6 * alpha)
        axes.add_patch(_rectangle(n * side, side, side, side / 8, face))
        label = f"{time_s:.2f} s  {number:+.2g}"
        axes.text((n + 0.5) * side, side * 1.3, label, ha="center", va="center", fontsize=6, color=QUIET)
    axes.set_xlim(-1, len(time_N) * side)
    axes.set_ylim(side * 1.45, -1)
    axes.set_axis_off()


def words(axes: Axes, found: PlaceMap, map_P: Tensor) -> None:
    """Colour the words of a text, each with its number below; long texts go on in the next line."""
    labels = found.labels or tuple(str(i) for i in range(len(map_P)))
    limits, strength = _limits(map_P), _strength(map_P).tolist()
    import matplotlib

    colour = matplotlib.colormaps["RdBu_r"]
    x, y = 0.0, 0.0
    for word, number, alpha in zip(labels, map_P.tolist(), strength, strict=True):
        width = _width(word)
        if x > 0 and x + width > LINE:
            x, y = 0.0, y - 1.6
        red, green, blue, _ = colour((number - limits["vmin"]) / (limits["vmax"] - limits["vmin"]))
        face = (red, green, blue, 0.15 + 0.85 * alpha)
        axes.add_patch(_rectangle(x, y - 0.1, width - 0.5, 0.85, face))
        ink = "white" if alpha > 0.6 else "black"
        place = x + (width - 0.5) / 2
        axes.text(place, y + 0.3, word, ha="center", va="center", fontsize=9, color=ink, family="monospace")
        axes.text(place, y - 0.4, f"{number:+.2g}", ha="center", va="center", fontsize=6, color=QUIET)
        x += width
    axes.set_xlim(-0.5, LINE)
    axes.set_ylim(y - 0.8, 1.0)
    axes.set_axis_off()


LINE = 60.0
"""Letters of a line of words."""

Size = Callable[[PlaceMap, int], tuple[float, float]]
Draw = Callable[["Axes", PlaceMap, Tensor], None]


def _side_by_side(_found: PlaceMap, num: int) -> tuple[float, float]:
    return 2.2 * num + 4.4, 2.9


def _below_each_other(found: PlaceMap, num: int) -> tuple[float, float]:
    lines = 1 + int(sum(_width(label) for label in found.labels) // LINE) if found.labels else 2
    return 10.0, 1.2 + (0.35 + 0.5 * lines) * num


def _in_strips(found: PlaceMap, num: int) -> tuple[float, float]:
    return 12.0, max(1.5, 9.0 / found.values.shape[1]) * num + 0.5


PICTURES: Mapping[str, tuple[Size, Draw]] = {
    "overlay": (_side_by_side, overlay),
    "spectrogram": (_below_each_other, spectrogram),
    "words": (_below_each_other, words),
    "strip": (_in_strips, strip),
}


def _ratios(columns: int) -> list[float]:
    return [1.0] * columns + [1.2] if columns > 1 else [2.4, 1.0]


def _width(word: str) -> float:
    return max(len(word), 4) * 1.15 + 1.0


def _rectangle(x: float, y: float, width: float, height: float, face: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, facecolor=face, edgecolor="#dddddd", linewidth=0.5)


def _curves(axes: Axes, check: Check) -> None:
    for name, colour in [("deletion", AGAINST), ("insertion", FOR)]:
        curve, chance = getattr(check, f"{name}_S"), getattr(check, f"random_{name}_S")
        axes.plot(check.share_S, curve, color=colour, label=f"{name} {check.area(curve):.3f}")
        axes.plot(check.share_S, chance, color=colour, linestyle=":", label=f"at random {check.area(chance):.3f}")
    axes.set_xlabel("share hidden, or shown", fontsize=8)
    axes.set_ylabel("probability", fontsize=8)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
    axes.legend(
        fontsize=7, frameon=False, title="area", title_fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0)
    )
    axes.spines[["top", "right"]].set_visible(False)


def _limits(map_P: Tensor) -> dict[str, Any]:
    most = max(float(map_P.abs().max()), 1e-12)
    return {"vmin": -most, "vmax": most}


def _strength(map_P: Tensor) -> Tensor:
    """Return how far each place stands out, 0..1."""
    return (map_P.abs() / map_P.abs().max().clamp_min(1e-12)).to(torch.float32)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError(
            "pictures need matplotlib", advice="pip install 'sensorium[plot]', or leave out --out"
        ) from None
    return Figure((width, height), layout="constrained")


def _saved(figure: Figure, stem: Path) -> list[Path]:
    import matplotlib

    from sensorium.core.commit import disk_error

    # Not `with_suffix`: a stem has a point of its own, between input and method.
    paths = [stem.parent / f"{stem.name}{ending}" for ending in (".png", ".svg")]
    try:
        # Letters stay letters in the SVG, and equal numbers give equal files.
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sensorium"}):
            for path in paths:
                figure.savefig(path, dpi=150, metadata=None if path.suffix == ".png" else {"Date": None})
    except OSError as error:
        raise disk_error(error, stem.parent) from error
    return paths
