"""What a sound decoder hands over: a rate, a declared length, and blocks of samples.

Enters: nothing; the decoders fill it.  Leaves: `SoundStream`, checked against the policy in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.core.errors import MediaError
from sensorium.media.policy import MediaPolicy


@dataclass(frozen=True, slots=True)
class SoundStream:
    """An opened sound.

    Attributes:
        kind: content type, for messages.
        rate_hz: samples a second, as the header declares.
        num_channels: as the header declares.
        declared_samples: length by the header; None where the format states none.
        slack_samples: how far the decoded length may stay behind, for formats that state it loosely.
        blocks: float32 (n, num_channels) each.
        seek: makes the blocks begin at a sample, exactly; to be called before they are read.  None: it cannot.
    """

    kind: str
    rate_hz: int
    num_channels: int
    declared_samples: int | None
    slack_samples: int
    blocks: Iterable[NDArray[np.float32]]
    seek: Callable[[int], object] | None = None

    def check(self, policy: MediaPolicy) -> None:
        """Hold the header against the policy.  Raises MediaError."""
        low, high = policy.min_rate_hz, policy.max_rate_hz
        if not low <= self.rate_hz <= high:
            raise MediaError(
                f"{self.kind} header declares a sample rate of {self.rate_hz:,} Hz; "
                f"the policy allows {low:,} to {high:,}"
            )
        if not 1 <= self.num_channels <= policy.max_channels:
            raise MediaError(
                f"{self.kind} header declares {self.num_channels} channels; "
                f"the policy allows 1 to {policy.max_channels}"
            )
        if self.declared_samples is not None:
            self.check_length(self.declared_samples, policy)

    def check_length(self, num_samples: int, policy: MediaPolicy) -> None:
        """Hold a length against the policy.  Raises MediaError."""
        if num_samples > policy.max_audio_seconds * self.rate_hz:
            raise MediaError(
                f"lasts longer than the {policy.max_audio_seconds:g} s that the policy allows",
                advice="cut it, or raise max_audio_seconds of the media policy",
            )

    def check_complete(self, num_samples: int) -> None:
        """Compare what was decoded with what was declared.  Raises MediaError."""
        declared = self.declared_samples
        if declared is not None and num_samples < declared - self.slack_samples:
            raise MediaError(
                f"{self.kind} ends at {100 * num_samples // declared} % of the {declared / self.rate_hz:.2f} s "
                "that its header declares: it is cut short or damaged"
            )
