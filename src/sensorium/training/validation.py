"""Validation: when, how good, and the best weights so far.

Enters: a function that returns the model's loss on held-out rows.  Leaves: the record in the run's
`Position`, and a copy of the weights at the lowest loss.
Early stopping after Prechelt 1998 ("Early stopping - but when?"), criterion UP with strips of one validation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from sensorium.training.checkpoint import Position, Weights, capture_weights, load_weights
from sensorium.training.seeding import preserved_random_state


class Validation:
    """Validate a model during its run.

    Args:
        measure: returns a loss, lower is better; None = there is no validation.
        every: steps, or "epoch".
        patience: validations without a new best that end the run; None = any number.
        position: of the run; its validation record is kept here.
        best: the best weights so far, of a resumed run.
    """

    def __init__(
        self,
        model: nn.Module,
        measure: Callable[[], float] | None,
        *,
        every: int | Literal["epoch"],
        patience: int | None,
        position: Position,
        best: Weights | None = None,
    ) -> None:
        self._model, self._measure = model, measure
        self._every, self._patience = every, patience
        self._position = position
        self.best = best

    def is_due(self) -> bool:
        """Say whether the step just made is one to validate after."""
        if self._measure is None:
            return False
        return self._position.batch == 0 if self._every == "epoch" else self._position.step % self._every == 0

    def is_missing(self) -> bool:
        """Say whether the run's last step still has to be validated."""
        return self._measure is not None and self._position.validated_step != self._position.step

    def is_exhausted(self) -> bool:
        """Say whether patience is."""
        return self._patience is not None and self._position.num_bad_validations >= self._patience

    def run(self) -> float:
        """Measure now; weights that are better than all before are copied.

        NaN is never better.  The generators and the model's mode are left as they were.
        """
        if self._measure is None:
            raise ValueError("there is nothing to validate by")
        was_training = self._model.training
        self._model.eval()
        try:
            with torch.no_grad(), preserved_random_state():
                loss = float(self._measure())
        finally:
            self._model.train(was_training)
        self._record(loss)
        return loss

    def _record(self, loss: float) -> None:
        position = self._position
        position.validated_step, position.validation = position.step, loss
        if loss < (math.inf if position.best_validation is None else position.best_validation):
            position.best_validation, position.best_step = loss, position.step
            position.num_bad_validations = 0
            self.best = capture_weights(self._model)
        else:
            position.num_bad_validations += 1

    def leave_best(self) -> None:
        """Give the model its best weights, if it was ever validated."""
        if self.best is not None:
            load_weights(self._model, self.best)
