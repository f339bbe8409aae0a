"""Training through the composition: the network learns what the counts leave to be said.

Enters: a composed scorer, for each of its counting parts one that leaves rows out, and each row's fold.
Leaves: -log of the composed probability of training rows; gradients reach the parts that learn.

    linear, gate   -log( w_1 p_neural + w_2 p_counted ),   product   -log( p_neural^w_1 p_counted^w_2 / Z )

The counts are held fixed.  The weights are shares fitted on held-out rows whenever the run validates (equal before
that, exponents 1 before that in a product), and a gate's network is silent until the network is trained: it is
fitted afterwards, on held-out rows, which no part has counted.

Source: Li et al. 2022, "Residual Learning of Neural Text Generation with n-gram Language Model" (arXiv 2210.14431),
whose logits are added as in `product`; linear with a small convolutional network: Bakhtin et al. 2018.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sensorium.core.errors import ModelError
from sensorium.core.pytree import select
from sensorium.core.types import Conditioning
from sensorium.language.left_out import LeftOut, with_folds
from sensorium.language.mixture import Mixture
from sensorium.language.parts import Scored
from sensorium.language.product import Product

log = logging.getLogger(__name__)


class Through:
    """The loss of a composition whose counting parts have not counted the rows they score.

    Args:
        scorer: the composition that is trained; its parts that learn are shared, and its weights are read.
        left_out: a `LeftOut` for each of its counting parts, by position.
        fold_N: (N,) int64 fold of each row number, -1 where a number is no training row.
        weights: fixed ones, or None for weights that follow the held-out rows.
    """

    def __init__(
        self,
        scorer: Any,
        left_out: Mapping[int, LeftOut],
        fold_N: Tensor,
        weights: Sequence[float] | None = None,
    ) -> None:
        self._kind = Product if isinstance(scorer, Product) else Mixture
        self._scorer, self._fold_N, self._is_fixed = scorer, fold_N, weights is not None
        self.num_left_out = 0
        self._composed = self._kind([left_out.get(k, part) for k, part in enumerate(scorer.parts)])
        if weights is None and self._kind is Product:
            scorer.set_weights([1.0] * len(scorer.parts))

    def score(self, row_id_B: Tensor, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return the composed log p of each token, (B, T), with gradients.

        A row that a part rules out (its frames are too few to spell its text) has 0 and no gradient, as in training
        alone; the log says so once.

        Raises:
            ModelError: a row that is no training row.
        """
        number_B = row_id_B.cpu()
        fold_B = self._fold_N[number_B.clamp_max(len(self._fold_N) - 1)]
        fold_B = torch.where(number_B < len(self._fold_N), fold_B, -1)
        if bool((fold_B < 0).any()):
            raise ModelError("rows that no fold leaves out cannot be trained on through the counts")
        self._composed.to(token_BT.device)
        self._composed.log_weight_K.copy_(self._scorer.log_weight_K)
        cond = with_folds(cond, fold_B.to(token_BT.device))
        log_p_BT: Tensor = self._composed.score(token_BT, mask_BT, cond)
        row_R = (log_p_BT.sum(1) != -torch.inf).nonzero()[:, 0]
        if len(row_R) == len(log_p_BT):
            return log_p_BT
        self._say_left_out(len(log_p_BT) - len(row_R))
        # Scored anew: what is hidden of an infinite loss has a gradient that is no number.
        possible_RT = self._composed.score(token_BT[row_R], mask_BT[row_R], select(cond, row_R))
        return torch.zeros_like(log_p_BT).index_copy(0, row_R, possible_RT)

    def _say_left_out(self, num_rows: int) -> None:
        if not self.num_left_out:
            log.warning("a text is ruled out (more tokens than its frames can spell); such rows teach nothing")
        self.num_left_out += num_rows

    def fit_weights(self, held_out: Iterable[Scored]) -> None:
        """Let the weights be those of held-out rows, unless they are fixed; a gate stays linear."""
        if self._is_fixed:
            return
        whole = self._kind(list(self._scorer.parts)).to(self._scorer.log_weight_K.device)
        self._scorer.set_weights(whole.fit_weights(held_out))
