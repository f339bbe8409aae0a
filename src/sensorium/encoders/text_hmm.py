"""Texts as a hidden Markov model reads them: p(state | the whole text) at each token.

Enters: (U, T) int64 token ids.  Leaves: (U, T, S) posteriors, a position a token.
Fitted by counting, without targets and before any gradient (Rabiner 1989; the states of such a model are word
classes: Merialdo 1994).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import torch
from pydantic import Field
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.core.types import MediaBatch
from sensorium.core.vocabulary import PAD
from sensorium.encoders.hmm_features import CountedTables, labelled, posteriors
from sensorium.encoders.outlet import Features
from sensorium.encoders.text_input import TextInput, VocabPreparer, full_mask
from sensorium.markov.emissions import Categorical
from sensorium.markov.estimation import Frames, baum_welch
from sensorium.markov.model import HMM, ergodic


class TextHMM(CountedTables):
    """Encode a text by the posteriors of a discrete hidden Markov model.

    Args:
        config: sizes.
        preparer: the fitted text preparer; its vocabulary is emitted.
        width: D of the result.

    Attributes:
        start_, transition_: (S,), (S, S) of the chain.
        emission_: (S, V) p(token | state); rows sum to 1.
    """

    class Config(TextInput):
        """Options of `text.hmm`."""

        states: int = Field(32, ge=1, le=4096)
        iterations: int = Field(30, ge=1, le=10_000)
        """The most iterations of EM."""
        pseudo_count: float = Field(0.01, gt=0.0, le=1e6)
        """Added to every expected count."""
        seed: int = Field(0, ge=0)

    modality = "text"

    start_: Tensor
    transition_: Tensor
    emission_: Tensor

    def __init__(self, config: Config, preparer: VocabPreparer, width: int) -> None:
        start_S, transition_SS = ergodic(config.states, config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        shape = (config.states, len(preparer.vocab))
        noise_SV = 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu")
        emission_SV = noise_SV / noise_SV.sum(1, keepdim=True)
        tables = {"start_": start_S, "transition_": transition_SS, "emission_": emission_SV}
        super().__init__(tables, feature_width=config.states, width=width)
        self.config = config

    def fit(self, examples: Iterable[tuple[MediaBatch, Tensor]]) -> Self:
        """Fit by EM to the texts; targets are not looked at.  Raises DataError: there is no text."""
        texts = [token_T for token_T, _ in labelled(examples)]
        if not texts:
            raise DataError("there are no texts to fit a hidden Markov model to")
        token_N = torch.cat(texts)
        count_V = torch.bincount(token_N, minlength=self.emission_.shape[1]) + self.config.pseudo_count
        count_V[PAD] = 0  # no text holds it
        begun_SV = self.emission_ * count_V
        emissions = Categorical(begun_SV / begun_SV.sum(1, keepdim=True), self.config.pseudo_count)
        fit = baum_welch(
            HMM(self.start_, self.transition_, emissions),
            Frames(token_N, [len(token_T) for token_T in texts], self.config.states),
            iterations=self.config.iterations,
            pseudo_count=self.config.pseudo_count,
        )
        self.start_, self.transition_ = fit.hmm.start_S, fit.hmm.transition_SS
        self.emission_ = fit.hmm.emissions.p_SV
        return self

    @torch.no_grad()
    def features(self, token_UT: Tensor, mask_UT: Tensor | None) -> Features:
        """Return the posteriors (U, T, S) and the mask."""
        mask_UT = full_mask(token_UT, mask_UT)
        log_e_UTS = self.emission_.T.log()[token_UT]
        gamma_UTS, _ = posteriors(self.start_, self.transition_, None, log_e_UTS, mask_UT)
        return gamma_UTS.to(self.outlet.absent_D.dtype), mask_UT
