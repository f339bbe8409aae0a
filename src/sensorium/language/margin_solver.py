"""Linear classifiers by Newton's method: the L2-loss support vector machine, and logistic regression.

Enters: sparse rows x_n and labels y_n of +1 or -1.  Leaves: weights w and a bias b that minimise

    f(w, b) = (w.w + b^2) / 2 + C sum_n loss(y_n (w.x_n + b)),
    loss(m) = max(0, 1 - m)^2   or   log(1 + exp(-m))

(the bias is penalised too, as LIBLINEAR's is).  Each Newton step is found by conjugate gradients, since a
Hessian times a vector costs two sparse products, and shortened until f falls enough.
Sources: Keerthi and DeCoste 2005, "A modified finite Newton method for fast solution of large scale linear
SVMs"; Lin, Weng and Keerthi 2008, "Trust region Newton method for logistic regression".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from sensorium.language.sparse_counts import Floats, SparseCounts

Loss = Literal["squared_hinge", "logistic"]
_MOST_STEPS = 100
_MOST_INNER_STEPS = 100
_INNER_TOLERANCE = 0.1
_ENOUGH = 1e-4  # Armijo's share of the predicted decrease


def fit_margin(
    rows: SparseCounts,
    y_N: Floats,
    *,
    cost: float = 1.0,
    loss: Loss = "squared_hinge",
    bias: bool = True,
    tolerance: float = 1e-4,
) -> tuple[Floats, float]:
    """Return w (F,) and b.

    Args:
        rows: x, (N, F).
        y_N: +1 or -1.
        cost: C.
        bias: fit b; else it is 0.
        tolerance: how small the gradient becomes, beside that at w = 0.
    """
    problem = _Problem(rows, y_N, cost, _LOSSES[loss], float(bias))
    w_X = np.zeros(rows.num_columns + 1)
    value, gradient_X, curvature_N = problem.at(w_X)
    goal = tolerance * np.linalg.norm(gradient_X)
    for _ in range(_MOST_STEPS):
        if np.linalg.norm(gradient_X) <= goal:
            break
        step_X = problem.newton_step(gradient_X, curvature_N)
        fall, size = float(gradient_X @ step_X), 1.0
        while (found := problem.at(w_X + size * step_X))[0] > value + _ENOUGH * size * fall and size > 1e-10:
            size /= 2
        w_X = w_X + size * step_X
        value, gradient_X, curvature_N = found
    return w_X[:-1], float(w_X[-1])


Losses = Callable[[Floats], tuple[Floats, Floats, Floats]]


def _squared_hinge(margin_N: Floats) -> tuple[Floats, Floats, Floats]:
    missing_N = np.maximum(0, 1 - margin_N)
    return missing_N**2, -2 * missing_N, np.where(missing_N > 0, 2.0, 0.0)


def _logistic(margin_N: Floats) -> tuple[Floats, Floats, Floats]:
    wrong_N = np.exp(-np.logaddexp(0, margin_N))
    return np.logaddexp(0, -margin_N), -wrong_N, wrong_N * (1 - wrong_N)


_LOSSES: dict[str, Losses] = {"squared_hinge": _squared_hinge, "logistic": _logistic}


class _Problem:
    """f, its gradient, and its Hessian times a vector; the bias is the last of the weights."""

    def __init__(self, rows: SparseCounts, y_N: Floats, cost: float, losses: Losses, one: float) -> None:
        self.column_E, self.value_E, self.row_E = rows.column_E, rows.value_E, rows.row_E
        self.num_rows, self.num_columns = rows.num_rows, rows.num_columns
        self.y_N, self.cost, self.losses, self.one = y_N, cost, losses, one

    def at(self, w_X: Floats) -> tuple[float, Floats, Floats]:
        """Return f, its gradient (F+1,), and the losses' second derivatives (N,)."""
        loss_N, slope_N, curvature_N = self.losses(self.y_N * self._times(w_X))
        value = 0.5 * float(w_X @ w_X) + self.cost * float(loss_N.sum())
        return value, w_X + self.cost * self._back(self.y_N * slope_N), curvature_N

    def newton_step(self, gradient_X: Floats, curvature_N: Floats) -> Floats:
        """Solve H step = -gradient by conjugate gradients, H = 1 + C X^T diag(curvature) X."""
        step_X, residual_X = np.zeros_like(gradient_X), -gradient_X
        direction_X, square = residual_X, float(residual_X @ residual_X)
        goal = _INNER_TOLERANCE**2 * square
        for _ in range(_MOST_INNER_STEPS):
            if square <= goal:
                break
            turned_X = direction_X + self.cost * self._back(curvature_N * self._times(direction_X))
            size = square / float(direction_X @ turned_X)
            step_X, residual_X = step_X + size * direction_X, residual_X - size * turned_X
            square, before = float(residual_X @ residual_X), square
            direction_X = residual_X + (square / before) * direction_X
        return step_X

    def _times(self, w_X: Floats) -> Floats:
        product_N = np.bincount(self.row_E, self.value_E * w_X[self.column_E], minlength=self.num_rows)
        margin_N: Floats = product_N.astype(np.float64, copy=False) + self.one * w_X[-1]
        return margin_N

    def _back(self, u_N: Floats) -> Floats:
        product_F = np.bincount(self.column_E, self.value_E * u_N[self.row_E], minlength=self.num_columns)
        product_X: Floats = np.append(product_F, self.one * u_N.sum()).astype(np.float64, copy=False)
        return product_X
