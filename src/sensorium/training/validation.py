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

from sensorium.training.averaging import WeightAverage
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
        average: of the weights; it is judged as well, and may be the best.
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
        average: WeightAverage | None = None,
    ) -> None:
        self._model, self._measure = model, measure
        self._every, self._patience = every, patience
        self._position = position
        self._average = average
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

        NaN is never better.  The generators and the model's mode are left as they were.  The average is judged
        first, so that what `measure` fits on the way is in the end that of the weights.
        """
        if self._measure is None:
            raise ValueError("there is nothing to validate by")
        was_training = self._model.training
        self._model.eval()
        try:
            averaged = self._judge_average()
            with torch.no_grad(), preserved_random_state():
                loss = float(self._measure())
        finally:
            self._model.train(was_training)
        self._record(loss, averaged)
        return loss

    def _judge_average(self) -> tuple[float, Weights] | None:
        """Return the average's loss and, if no validation was better, the whole model with it."""
        if self._average is None or self._measure is None:
            return None
        with self._average.in_place(), torch.no_grad(), preserved_random_state():
            loss = float(self._measure())
            return loss, capture_weights(self._model) if self._is_best(loss) else {}

    def _is_best(self, loss: float) -> bool:
        best = self._position.best_validation
        return loss < (math.inf if best is None else best)

    def _record(self, loss: float, averaged: tuple[float, Weights] | None) -> None:
        position = self._position
        position.validated_step, position.validation = position.step, loss
        position.average_validation = None if averaged is None else averaged[0]
        is_average = averaged is not None and self._is_best(averaged[0]) and not loss <= averaged[0]
        lowest = averaged[0] if averaged is not None and is_average else loss
        if not self._is_best(lowest):
            position.num_bad_validations += 1
            return
        position.best_validation, position.best_step = lowest, position.step
        position.best_is_average, position.num_bad_validations = is_average, 0
        self.best = averaged[1] if averaged is not None and is_average else capture_weights(self._model)

    def leave_best(self) -> None:
        """Give the model its best weights, if it was ever validated."""
        if self.best is not None:
            load_weights(self._model, self.best)
