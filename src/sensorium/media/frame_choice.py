"""Which pictures of a clip are kept: N evenly spaced, or some a second.

Enters: when each picture appears, and which are keyframes.  Leaves: the numbers of those to keep, ascending.
A keyframe is decoded alone; any other picture needs all between the keyframe before it and itself.  So the
cheap choice takes, from each of N equal segments, a keyframe where the segment holds one.  One picture from each
segment is the sparse sampling of Temporal Segment Networks (Wang et al. 2016, section 3.1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


_SLACK_S = 5e-7
"""So shortly before a picture appears counts as when it does: in the file times are fractions."""


def evenly_spaced(
    time_K: NDArray[np.float64], end_s: float, num_frames: int, is_key_K: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Return the pictures on screen in the middle of `num_frames` equal segments, each picture once.

    Args:
        time_K: (K,) seconds at which pictures appear, ascending.
        end_s: when the last one ends.
        is_key_K: (K,) bool; if given, the keyframe nearest to the middle of a segment is taken instead, where the
            segment has one.
    """
    edge_s = time_K[0] + (end_s - time_K[0]) * np.arange(num_frames + 1) / num_frames
    middle_N = on_screen(time_K, (edge_s[:-1] + edge_s[1:]) / 2 + _SLACK_S)
    if is_key_K is None or not is_key_K.any():
        return np.unique(middle_N)
    key_J = np.flatnonzero(is_key_K)
    segment_J = np.searchsorted(edge_s, time_K[key_J], side="right") - 1
    chosen = middle_N.copy()
    for segment in np.unique(segment_J):
        if 0 <= segment < num_frames:
            inside = key_J[segment_J == segment]
            middle_s = (edge_s[segment] + edge_s[segment + 1]) / 2
            chosen[segment] = inside[np.abs(time_K[inside] - middle_s).argmin()]
    return np.unique(chosen)


def at_rate(time_K: NDArray[np.float64], end_s: float, rate_hz: float) -> NDArray[np.int64]:
    """Return the pictures on screen every 1 / `rate_hz` seconds from the first on, each picture once."""
    num = max(int(np.ceil((end_s - time_K[0]) * rate_hz - 1e-6)), 1)
    return np.unique(on_screen(time_K, time_K[0] + np.arange(num) / rate_hz + _SLACK_S))


def on_screen(time_K: NDArray[np.float64], at_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which picture is seen at each moment: the last to have appeared."""
    return np.clip(np.searchsorted(time_K, at_s, side="right") - 1, 0, len(time_K) - 1)
