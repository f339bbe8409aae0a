"""Change of sample rate by a windowed-sinc polyphase filter, in blocks.

Enters: float32 samples at one rate, block by block.  Leaves: float32 samples at another.
With up / down the ratio of the rates in lowest terms, output m is

    y[m] = sum_n x[n] h(m down - n up),     h = up * kaiser * sinc, cut off below the lower Nyquist rate

(Crochiere and Rabiner, Multirate Digital Signal Processing, 1983, section 3.3; Kaiser, 1974).  It
equals `scipy.signal.resample_poly` with the same prototype filter, at the ends too (zeros outside).
Outputs repeat their phases every `up`, so a run of phases over many periods is one matrix product.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

NUM_ZEROS = 32  # zero crossings of the sinc on each side
BETA = 9.0  # Kaiser window: stop band at about -90 dB
ROLLOFF = 0.91  # pass band ends here, as a share of the lower Nyquist rate; the stop band starts at 1
MAX_TERM = 65_536  # of up and down; rates above it that share no factor are off by 8e-6 at most
_GROUP = 64  # outputs of one matrix product, a row
_MAX_PRODUCT = 1 << 18  # multiplications; BLAS calls its threads for more, which cost more than they bring


@dataclass(frozen=True)
class _Group:
    """Outputs first..first+n of a period: they see inputs start..start+span, weighted by (span, n)."""

    start: int
    weight: NDArray[np.float32]


@dataclass(frozen=True)
class _Plan:
    """One period of the filter: `hop` inputs make `num_out` outputs; it reaches `reach` inputs back."""

    up: int
    down: int
    hop: int
    num_out: int
    reach: int
    span: int
    groups: tuple[_Group, ...]


def prototype(up: int, down: int) -> NDArray[np.float64]:
    """Return h at integer offsets -half..half, summing to `up`; half = NUM_ZEROS max(up, down)."""
    widest = max(up, down)
    half = NUM_ZEROS * widest
    offset = np.arange(-half, half + 1)
    taps = np.sinc(offset * ROLLOFF / widest) * np.kaiser(2 * half + 1, BETA)
    return np.asarray(taps * (up / taps.sum()))


@functools.lru_cache(maxsize=8)
def _plan(rate_in_hz: int, rate_out_hz: int) -> _Plan:
    ratio = Fraction(rate_out_hz, rate_in_hz)
    limit = max(MAX_TERM, math.ceil(ratio), math.ceil(1 / ratio))
    ratio = ratio.limit_denominator(limit) if ratio < 1 else 1 / (1 / ratio).limit_denominator(limit)
    up, down = ratio.numerator, ratio.denominator
    taps, half = prototype(up, down), NUM_ZEROS * max(up, down)
    periods = -(-_GROUP // up)
    hop, num_out = down * periods, up * periods
    reach = half // up  # inputs before m down / up that still matter
    groups = tuple(
        _group(taps, half, up, down, first, min(first + _GROUP, num_out), reach)
        for first in range(0, num_out, _GROUP)
    )
    span = max(group.start + group.weight.shape[0] for group in groups)
    return _Plan(up, down, hop, num_out, reach, span, groups)


def _group(taps: NDArray[np.float64], half: int, up: int, down: int, first: int, last: int, reach: int) -> _Group:
    # Input n stands at column n + reach of the window, whose column 0 is input -reach of the period.
    output = np.arange(first, last)
    low = -((half - first * down) // up)  # ceil((first down - half) / up)
    high = ((last - 1) * down + half) // up
    inputs = np.arange(low, high + 1)
    offset = output[None, :] * down - inputs[:, None] * up
    inside = np.abs(offset) <= half
    weight = np.where(inside, taps[np.clip(offset + half, 0, 2 * half)], 0)
    return _Group(low + reach, np.ascontiguousarray(weight, np.float32))


class Resampler:
    """Resample a stream: `push` blocks, then `flush`; together they give ceil(N rate_out / rate_in)."""

    def __init__(self, rate_in_hz: int, rate_out_hz: int) -> None:
        self._plan = _plan(rate_in_hz, rate_out_hz)
        self._pending = np.zeros(self._plan.reach, np.float32)
        self._num_in = 0
        self._num_out = 0

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take (n,) samples; return those outputs that no later input can change."""
        self._num_in += len(samples)
        self._pending = np.concatenate([self._pending, samples])
        return self._run()

    def flush(self) -> NDArray[np.float32]:
        """Return the outputs that were waiting for more input, which is zero."""
        plan = self._plan
        total = -(-self._num_in * plan.up // plan.down)
        missing = total - self._num_out
        periods = -(-missing // plan.num_out)
        needed = plan.span + (periods - 1) * plan.hop - len(self._pending)
        self._pending = np.concatenate([self._pending, np.zeros(max(needed, 0), np.float32)])
        return self._run()[:missing]

    def _run(self) -> NDArray[np.float32]:
        plan, pending = self._plan, self._pending
        periods = (len(pending) - plan.span) // plan.hop + 1 if len(pending) >= plan.span else 0
        if periods == 0:
            return np.empty(0, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(pending, plan.span)[:: plan.hop][:periods]
        result = np.empty((periods, plan.num_out), np.float32)
        num_rows = max(1, _MAX_PRODUCT // max(group.weight.size for group in plan.groups))
        for first in range(0, periods, num_rows):
            # BLAS wants rows that do not overlap; a copy of a few at a time stays in the cache.
            rows = np.ascontiguousarray(windows[first : first + num_rows])
            place = 0
            for group in plan.groups:
                end = place + group.weight.shape[1]
                view = rows[:, group.start : group.start + group.weight.shape[0]]
                np.matmul(view, group.weight, out=result[first : first + num_rows, place:end])
                place = end
        self._pending = pending[periods * plan.hop :]
        self._num_out += periods * plan.num_out
        return result.reshape(-1)


def resample(samples_N: NDArray[np.float32], rate_in_hz: int, rate_out_hz: int) -> NDArray[np.float32]:
    """Resample a whole clip: (N,) to (ceil(N rate_out / rate_in),)."""
    if rate_in_hz == rate_out_hz or len(samples_N) == 0:
        return samples_N
    stream = Resampler(rate_in_hz, rate_out_hz)
    return np.concatenate([stream.push(samples_N), stream.flush()])
