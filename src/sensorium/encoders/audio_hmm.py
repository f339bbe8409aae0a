"""Sounds as hidden Markov models hear them: which state each frame is in, and which word the clip is.

Enters: (U, T, num_mels) log-mel frames, turned into cepstra.  Leaves: a position every `stride` frames.

* `words = 0`: one ergodic model of all clips, fitted without targets; features are p(state | clip), averaged over
  the frames of a position.
* `words = n`: a left-to-right model of each of the n most frequent targets; features are p(state | clip, word) of
  every word, and log p(word | clip), a clip's words beforehand equally likely, divided by its frames.

Fitted by counting, before any gradient.  Word models have counted the rows that the network is then trained on, and
are surer of them than of others: the more states and Gaussians, the more so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from sensorium.core.errors import DataError
from sensorium.core.protocols import Preparer
from sensorium.core.types import MediaBatch
from sensorium.data.cepstra import cepstra
from sensorium.data.log_mel_preparer import Normalize
from sensorium.encoders.audio_input import AudioInput, clean_frames
from sensorium.encoders.hmm_features import CountedTables, labelled, posteriors
from sensorium.encoders.outlet import Features
from sensorium.markov.emissions import GaussianMixtures, Gaussians
from sensorium.markov.estimation import Frames, baum_welch
from sensorium.markov.model import HMM, ergodic, left_to_right
from sensorium.markov.words import fit_words

_NUM_CEPSTRA = 13


class AudioHMM(CountedTables):
    """Encode sounds by the posteriors of one hidden Markov model, or of one a word.

    Args:
        config: sizes.
        preparer: the log-mel preparer (nothing is learned from it).
        width: D of the result.

    Attributes:
        transition_: (W, S, S) of each word; W = 1 where there are no words.
        weight_, mean_, variance_: (W S, K), (W S, K, F), (W S, K, F) of the Gaussian mixtures.
    """

    class Config(AudioInput):
        """Options of `audio.hmm`."""

        normalize: Normalize = "none"
        words: int = Field(0, ge=0, le=10_000)
        """How many targets get a model each, the most frequent first; 0 = one model of all sounds."""
        states: int = Field(8, ge=1, le=1024)
        """States of a model."""
        splits: int = Field(1, ge=0, le=8)
        """A state has a mixture of 2^splits Gaussians (with words)."""
        iterations: int = Field(8, ge=1, le=1000)
        """The most iterations of EM after each split."""
        stride: int = Field(4, ge=1, le=256)
        """Frames of a position."""
        seed: int = Field(0, ge=0)

    modality = "audio"

    start_: Tensor
    transition_: Tensor
    weight_: Tensor
    mean_: Tensor
    variance_: Tensor

    def __init__(self, config: Config, preparer: Preparer, width: int) -> None:
        num_models, num_gaussians = max(config.words, 1), 2**config.splits if config.words else 1
        num = num_models * config.states
        start_S, transition_SS = left_to_right(config.states)[:2] if config.words else ergodic(config.states)
        generator, shape = torch.Generator().manual_seed(config.seed), (num, num_gaussians, 3 * _NUM_CEPSTRA)
        tables = {
            "start_": start_S,
            "transition_": transition_SS.repeat(num_models, 1, 1),
            "weight_": torch.full(shape[:2], 1 / num_gaussians, dtype=torch.float64),
            "mean_": torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu"),
            "variance_": torch.ones(shape, dtype=torch.float64),
        }
        super().__init__(tables, feature_width=num + config.words, width=width)
        self.config = config

    def fit(self, examples: Iterable[tuple[MediaBatch, Tensor]]) -> Self:
        """Fit the models by EM.

        Args:
            examples: media, and the target ids (B, T) of the rows that use them.

        Raises:
            DataError: no sounds, or fewer different targets than `words`.
        """
        clips, targets = [], []
        for values_TF, target in labelled(examples):
            clips.append(cepstra(values_TF, _NUM_CEPSTRA))
            targets.append(target)
        if not clips:
            raise DataError("there are no sounds to fit hidden Markov models to")
        if self.config.words:
            self._fit_words(clips, targets)
        else:
            self._fit_one(clips)
        return self

    @torch.no_grad()
    def features(self, values_UTF: Tensor, mask_UT: Tensor | None) -> Features:
        """Return (U, ceil(T / stride), words * states + words) and the mask."""
        x_UTF, mask_UT = clean_frames(values_UTF, mask_UT, torch.float64)
        log_e_UTX = x_UTF.new_zeros(*mask_UT.shape, len(self.mean_))
        emissions = GaussianMixtures(self.weight_, self.mean_, self.variance_)
        for u in range(len(x_UTF)):
            if mask_UT[u].any():
                log_e_UTX[u, mask_UT[u]] = emissions.log_p(cepstra(x_UTF[u, mask_UT[u]], _NUM_CEPSTRA))
        states, final_S = self.config.states, torch.ones_like(self.start_)
        if self.config.words:
            final_S = torch.arange(states, device=final_S.device).eq(states - 1).to(final_S)
        parts = [
            posteriors(self.start_, transition_SS, final_S, log_e_UTS, mask_UT)
            for transition_SS, log_e_UTS in zip(
                self.transition_, torch.chunk(log_e_UTX, len(self.transition_), -1), strict=True
            )
        ]
        x_UTX = _pooled(torch.cat([gamma_UTS for gamma_UTS, _ in parts], -1), mask_UT, self.config.stride)
        if self.config.words:
            log_p_UW = torch.stack([log_p_U for _, log_p_U in parts], 1).log_softmax(1)
            x_UTX = torch.cat([x_UTX, log_p_UW[:, None].expand(-1, x_UTX.shape[1], -1)], -1)
        return x_UTX.to(self.outlet.absent_D.dtype), mask_UT[:, :: self.config.stride]

    def _fit_words(self, clips: list[Tensor], targets: list[tuple[int, ...]]) -> None:
        common = [target for target, _ in Counter(targets).most_common(self.config.words)]
        if len(common) < self.config.words:
            raise DataError(
                f"{self.config.words} words are asked for, but there are {len(common)} different targets"
            )
        number = {target: word for word, target in enumerate(common)}
        chosen = [(x_TF, number[target]) for x_TF, target in zip(clips, targets, strict=True) if target in number]
        words, mixtures = fit_words(
            torch.cat([x_TF for x_TF, _ in chosen]),
            [len(x_TF) for x_TF, _ in chosen],
            [word for _, word in chosen],
            self.config.words,
            states=self.config.states,
            splits=self.config.splits,
            iterations=self.config.iterations,
        )
        self.transition_, self.weight_ = words.transition_WSS, mixtures.weight_SK
        self.mean_, self.variance_ = mixtures.mean_SKF, mixtures.variance_SKF

    def _fit_one(self, clips: list[Tensor]) -> None:
        x_NF, states = torch.cat(clips), self.config.states
        generator = torch.Generator().manual_seed(self.config.seed)
        mean_SF = x_NF[torch.randint(len(x_NF), (states,), generator=generator).to(x_NF.device)]
        variance_F = x_NF.var(0, correction=0).clamp_min(1e-6)
        gaussians = Gaussians(mean_SF, variance_F.repeat(states, 1), 0.05 * variance_F)
        start_S, transition_SS = (t.to(x_NF.device) for t in ergodic(states, self.config.seed, stay=0.5))
        frames = Frames(x_NF, [len(x_TF) for x_TF in clips], states)
        hmm = baum_welch(HMM(start_S, transition_SS, gaussians), frames, iterations=self.config.iterations).hmm
        mixtures = GaussianMixtures.of(hmm.emissions)
        self.start_, self.transition_, self.weight_ = hmm.start_S, hmm.transition_SS[None], mixtures.weight_SK
        self.mean_, self.variance_ = mixtures.mean_SKF, mixtures.variance_SKF


def _pooled(x_UTX: Tensor, mask_UT: Tensor, stride: int) -> Tensor:
    """Average every `stride` frames, over real ones."""
    num, short = -(-x_UTX.shape[1] // stride), -x_UTX.shape[1] % stride
    total_UTX = functional.pad(x_UTX, (0, 0, 0, short)).unflatten(1, (num, stride)).sum(2)
    count_UT = functional.pad(mask_UT, (0, short)).view(len(x_UTX), num, stride).sum(2)
    average_UTX: Tensor = total_UTX / count_UT.clamp_min(1)[..., None]
    return average_UTX
