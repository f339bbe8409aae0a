"""Sounds through any audio network that transformers knows: Whisper's encoder, wav2vec 2.0, HuBERT, AST, ...

Enters: (U, T, F) frames, or samples (F = 1), of the network's own extractor.  Leaves: positions along time, those
that hear more than the filling alone; of a network whose positions are no steps in time (AST: patches), all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sensorium.data.published_audio import PublishedAudioPreparer
from sensorium.encoders.outlet import Features
from sensorium.encoders.published_input import PublishedEncoder, PublishedInput


class AudioHF(PublishedEncoder):
    """Encode sounds with a published network."""

    class Config(PublishedInput):
        """Options of `audio.hf`."""

        max_seconds: float = Field(30.0, gt=0)

        def preparer(self) -> PublishedAudioPreparer:
            """Make the (unfitted) preparer of these sounds."""
            return PublishedAudioPreparer(self.source, self.revision, max_seconds=self.max_seconds)

    modality = "audio"
    part = "audio_config"
    reads = ("input_features", "input_values")

    def _configure(self, preparer: PublishedAudioPreparer) -> None:
        self.layout = preparer.layout
        count = getattr(self.network, "_get_feat_extract_output_lengths", None)
        self.is_along_time = count is not None

    def _arguments(self, values: Tensor) -> Mapping[str, Any]:
        x_UTF = values.to(torch.float32)
        if self.layout.num_features == 1:
            x_UTF = x_UTF[..., 0]
        elif self.layout.time_axis == 1:
            x_UTF = x_UTF.transpose(1, 2)
        return {self.network.main_input_name: x_UTF}

    def features(self, values_UTF: Tensor, mask_UT: Tensor | None) -> Features:
        """Return hidden states (U, T', F) and their mask."""
        if mask_UT is None:
            mask_UT = torch.ones(values_UTF.shape[:2], dtype=torch.bool, device=values_UTF.device)
        values_UTF = torch.where(mask_UT[..., None], values_UTF, 0)
        if self.layout.length is not None:
            return self._filled(values_UTF, mask_UT, self.layout.length)
        if self.layout.tells_length and self.is_along_time:
            return self._masked(values_UTF, mask_UT)
        return self._by_length(values_UTF, mask_UT)

    def _filled(self, values_UTF: Tensor, mask_UT: Tensor, length: int) -> Features:
        """Repeat each clip's last frame up to the one length that the network reads."""
        num_U = mask_UT.sum(1)
        place_T = torch.arange(length, device=values_UTF.device)
        from_UT = torch.minimum(place_T, num_U[:, None] - 1).clamp_min(0)
        whole_UTF = values_UTF.gather(1, from_UT[..., None].expand(-1, -1, values_UTF.shape[2]))
        output = self._run(self.network, self._arguments(whole_UTF))
        state = self._state(output)
        return self._pooled(output, state, self._heard(num_U, state.shape[1]) if self.is_along_time else None)

    def _masked(self, values_UTF: Tensor, mask_UT: Tensor) -> Features:
        """Encode clips of different lengths together."""
        arguments = {**self._arguments(values_UTF), "attention_mask": mask_UT.long()}
        output = self._run(self.network, arguments)
        state = self._state(output)
        return self._pooled(output, state, self._heard(mask_UT.sum(1), state.shape[1]))

    def _by_length(self, values_UTF: Tensor, mask_UT: Tensor) -> Features:
        """Encode clips of each length apart: the network would let padding in."""
        found: list[Tensor | None] = [None] * len(values_UTF)
        num_U = mask_UT.sum(1)
        for num in num_U.unique().tolist():
            chosen_K = (num_U == num).nonzero()[:, 0]
            output = self._run(self.network, self._arguments(values_UTF[chosen_K, :num]))
            x_KTF, _ = self._pooled(output, self._state(output), None)
            for u, x_TF in zip(chosen_K.tolist(), x_KTF, strict=True):
                found[u] = x_TF
        parts = [x_TF for x_TF in found if x_TF is not None]
        length_U = torch.tensor([len(x_TF) for x_TF in parts], device=values_UTF.device)
        x_UTF = pad_sequence(parts, batch_first=True)
        return x_UTF, torch.arange(x_UTF.shape[1], device=values_UTF.device) < length_U[:, None]

    def _heard(self, num_U: Tensor, num_positions: int) -> Tensor:
        """Mark the positions (U, T') that so many values lead to; one at least."""
        length_U = self.network._get_feat_extract_output_lengths(num_U).clamp_min(1)
        return torch.arange(num_positions, device=num_U.device) < length_U[:, None]
