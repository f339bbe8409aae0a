"""A counting scorer for its own training rows: each row is scored by counts that leave its fold out.

Enters: K scorers, the k-th counted on all rows but those of fold k; tokens, and the fold of each row.
Leaves: log p as the rows would have been scored by a model that had not counted them.

A model that has counted a text is too sure of it: an n-gram gives its own training text many times the probability
of any other, so a network trained beside it would learn that nothing is left to do.  Source: cross-fitting as in
stacking (Wolpert 1992, "Stacked generalization"; Breiman 1996, "Stacked regressions").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from sensorium.core.errors import ModelError
from sensorium.core.protocols import Scorer
from sensorium.core.pytree import select
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import require_same
from sensorium.language.parts import unroll

FOLD = "(fold)"
"""The evidence that holds each row's fold, (B,) int64; no input can be called so."""


def with_folds(cond: Conditioning, fold_B: Tensor) -> Conditioning:
    """Return the conditioning of rows whose folds are known."""
    return replace(cond, evidence={**cond.evidence, FOLD: fold_B})


class LeftOut(nn.Module):
    """Score each row by the scorer that has not counted its fold; fold k is scored by the k-th.

    It is for training alone: whole rows are scored, nothing is generated.

    Raises:
        ModelError: no scorer, or vocabularies that differ; rows whose fold is not known.
    """

    fitted_by = "counting"

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        super().__init__()
        if not scorers:
            raise ModelError("counts are left out by folds, and there is none")
        self.vocab = require_same([scorer.vocab for scorer in scorers])
        self.by_fold = nn.ModuleList(cast(Sequence[nn.Module], scorers))

    def start(self, cond: Conditioning) -> Any:
        """Refuse: what is generated belongs to no fold."""
        raise ModelError("counts that leave rows out score training rows and generate nothing")

    def extend(self, state: Any, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Any]:
        """Refuse, as `start`."""
        raise ModelError("counts that leave rows out score training rows and generate nothing")

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t, cond), (B, T)."""
        return self._by_fold(token_BT, mask_BT, cond, lambda scorer, *rows: scorer.score(*rows))

    def unroll(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(next) after each position, (B, T, V)."""
        return self._by_fold(token_BT, mask_BT, cond, unroll)

    @torch.no_grad()
    def _by_fold(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning, ask: Callable[..., Tensor]) -> Tensor:
        fold_B = cond.evidence.get(FOLD)
        if fold_B is None:
            raise ModelError("the folds of these rows are not known", advice="see left_out.with_folds")
        plain = replace(cond, evidence={name: x for name, x in cond.evidence.items() if name != FOLD})
        self.by_fold.to(token_BT.device)
        answer: Tensor | None = None
        for fold in sorted(set(fold_B.tolist())):
            if not 0 <= fold < len(self.by_fold):
                raise ModelError(f"a row of fold {fold}, and there are {len(self.by_fold)}")
            row_N = (fold_B == fold).nonzero()[:, 0]
            found = ask(self.by_fold[fold], token_BT[row_N], mask_BT[row_N], select(plain, row_N))
            if answer is None:
                answer = found.new_zeros(len(token_BT), *found.shape[1:])
            answer[row_N] = found
        return ask(self.by_fold[0], token_BT, mask_BT, plain) if answer is None else answer
