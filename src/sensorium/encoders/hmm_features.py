"""Hidden Markov models as encoders: what the audio and the text one share.

Enters: media.  Leaves: for each frame or token, p(state | the whole medium), and beside it what each model says of
the medium.  The models are fitted by counting (`fit`, EM), before any gradient; gradients reach only the outlet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.types import Encoded, MediaBatch
from sensorium.core.vocabulary import PAD
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.markov.inference import smooth
from sensorium.markov.packing import Packing


def posteriors(
    start_S: Tensor, transition_SS: Tensor, final_S: Tensor | None, log_e_UTS: Tensor, mask_UT: Tensor
) -> tuple[Tensor, Tensor]:
    """Return p(state | medium) (U, T, S), zeros in padding, and log P a frame (U,), zero where it is impossible.

    A medium without a real position has zeros everywhere.
    """
    length_U = mask_UT.sum(1)
    some_U = length_U > 0
    gamma_UTS, log_p_U = torch.zeros_like(log_e_UTS), log_e_UTS.new_zeros(len(log_e_UTS))
    if not some_U.any():
        return gamma_UTS, log_p_U
    packing = Packing.of(length_U[some_U].tolist(), log_e_UTS.device)
    smoothed = smooth(start_S, transition_SS, final_S, packing.pack(log_e_UTS[mask_UT]), packing)
    gamma_UTS[mask_UT] = packing.unpack(smoothed.gamma_NS)
    per_frame_B = smoothed.log_likelihood_B / length_U[some_U]
    log_p_U[some_U] = torch.where(per_frame_B.isfinite(), per_frame_B, 0.0)
    return gamma_UTS, log_p_U


def labelled(examples: Iterable[tuple[MediaBatch, Tensor]]) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Yield each medium's real values (T, ...), and the target ids of the first row that uses it.

    Equal media are yielded once, in the order in which rows use them, however rows are cut into batches; those
    without a real position, and those of no row, are not.
    """
    known: set[bytes] = set()
    for media, token_BT in examples:
        for u, target in zip(media.row_B.tolist(), token_BT.tolist(), strict=True):
            if u < 0:
                continue
            values = media.values[u] if media.mask_UT is None else media.values[u][media.mask_UT[u]]
            digest = hashlib.blake2b(values.cpu().numpy().tobytes(), digest_size=16).digest()
            if len(values) and digest not in known:
                known.add(digest)
                yield values, tuple(id_ for id_ in target if id_ != PAD)


class CountedTables(nn.Module):
    """An encoder of counted tables, which are buffers: a fresh one takes saved tables of any size.

    Args:
        tables: the tables before anything is counted, by name; names end in `_`.
        feature_width: F of the features.
        width: D of the result.
    """

    fitted_by = "counting"

    def __init__(self, tables: Mapping[str, Tensor], feature_width: int, width: int) -> None:
        super().__init__()
        self.feature_width, self.width = feature_width, width
        for name, table in tables.items():
            self.register_buffer(name, table)
        self.outlet = Outlet(feature_width, width)

    def features(self, values: Tensor, mask_UT: Tensor | None) -> Features:
        """Compute posteriors (U, T', F) and their mask from the tables."""
        raise NotImplementedError

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, T', width)."""
        return encode(self, media)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        for name, buffer in self._buffers.items():
            saved = state_dict.get(prefix + name)
            if buffer is not None and saved is not None:
                self._buffers[name] = torch.empty_like(saved, device=buffer.device)
        super()._load_from_state_dict(state_dict, prefix, *args)
