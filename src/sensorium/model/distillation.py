"""A teacher: a larger model whose next-token distributions a smaller one learns, beside the words themselves.

    L = (1 - a) L_words + a T^2 sum_t KL( p_t^(1/T) / Z || q_t^(1/T) / Z )

p is what the teacher says after the tokens before t, all its scorers together, q what the student's own network
says.  T^2 keeps the gradients of both terms of one size.  Enters: training batches.  Leaves: losses to train by.
Source: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network" (arXiv 1503.02531), section 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from sensorium.core.errors import ModelError
from sensorium.core.types import Batch, Conditioning
from sensorium.core.vocabulary import require_same
from sensorium.language.parts import unroll


class Teacher:
    """A fitted model that a student of the same vocabulary learns from; it is no part of the student.

    Args:
        model: the teacher, in evaluation mode; nothing of it changes.
        student: the model that learns.
        temperature: T.
        weight: a, the share of the loss that is the teacher's.

    Raises:
        ModelError: their vocabularies differ, or the student's rows do not hold what the teacher reads.
    """

    def __init__(self, model: Any, student: Any, *, temperature: float, weight: float) -> None:
        require_same([student.vocab, model.vocab])
        for name in model.config.read_inputs:
            theirs = model.preparers[name].fingerprint
            if name not in student.preparers or student.preparers[name].fingerprint != theirs:
                raise ModelError(
                    f"the teacher reads '{name}' as this model does not prepare it",
                    advice="give the input the teacher's name and preparation: size, tokenizer, frozen encoder",
                )
        self._model, self._temperature, self._weight = model.requires_grad_(False), temperature, weight

    def mixed(self, nll_B: Tensor, batch: Batch, learners: Iterable[Any], cond: Conditioning) -> Tensor:
        """Return each row's loss, (B,), the teacher's share included.

        Args:
            nll_B: by the words themselves.
            learners: the student's scorers that learn; each is taught alone, and the mean is taken.
            cond: what they are conditioned on.
        """
        token_BT, mask_BT = batch.token_BT, batch.mask_BT
        assert token_BT is not None
        assert mask_BT is not None
        fed_BT, real_BT = token_BT[:, :-1], mask_BT[:, :-1]
        with torch.no_grad():
            model = self._model.to(token_BT.device)
            taught_BTV = self._softened(unroll(model.scorer, fed_BT, real_BT, model.condition(batch)))
        apart = [
            self._divergence(taught_BTV, unroll(scorer, fed_BT, real_BT, cond), mask_BT[:, 1:])
            for scorer in learners
        ]
        return (1 - self._weight) * nll_B + self._weight * self._temperature**2 * torch.stack(apart).mean(0)

    def _softened(self, log_p_BTV: Tensor) -> Tensor:
        return (log_p_BTV.float() / self._temperature).log_softmax(-1)

    def _divergence(self, taught_BTV: Tensor, log_q_BTV: Tensor, predicted_BT: Tensor) -> Tensor:
        """Return KL summed over each row's predicted tokens, (B,)."""
        possible_BTV = taught_BTV.isfinite()
        # PAD and BOS are impossible to both; a difference of infinities would be NaN, and its gradient too.
        log_q_BTV = self._softened(log_q_BTV.masked_fill(log_q_BTV.isneginf(), torch.finfo(torch.float32).min / 4))
        gap_BTV = torch.where(possible_BTV, taught_BTV, 0) - log_q_BTV
        kl_BT = torch.where(possible_BTV, taught_BTV.exp() * gap_BTV, 0).sum(-1)
        return torch.where(predicted_BT, kl_BT, 0).sum(1)
