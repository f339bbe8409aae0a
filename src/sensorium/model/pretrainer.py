"""A model without a target: encoders and a fusion, trained by their objectives alone.

Enters: batches, whose rows need no target.  Leaves: a loss a row, and what each objective measured.  Others begin
from its encoders and its fusion; the heads are saved beside them, so that a run can be judged again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from sensorium.core.protocols import Preparer
from sensorium.core.types import Batch
from sensorium.model.conditioner import Conditioner
from sensorium.model.config import ConditionerConfig
from sensorium.model.objectives import Term


class Pretrainer(Conditioner):
    """Train encoders and fusion by what the inputs say of each other and of themselves.

    Args:
        config: the validated inputs, fusion and objectives.
        preparers: one fitted preparer an input.
    """

    def __init__(self, config: ConditionerConfig, preparers: Mapping[str, Preparer]) -> None:
        super().__init__(config, preparers)
        self.config: ConditionerConfig

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return each row's loss, all objectives added up, and ones: float (B,) both.

        In training inputs are hidden by chance.  What is hidden of them, and which pairs are exchanged, is drawn by
        torch's generator, in evaluation too: seed it to compare.
        """
        batch = batch.to(self.device)
        if self.training and self.input_dropout:
            batch = self.input_dropout(batch)
        total_B = torch.stack([term.loss_B for term in self.terms(batch).values()]).sum(0)
        return total_B, torch.ones_like(total_B)

    def terms(self, batch: Batch) -> dict[str, Term]:
        """Return every objective's term on a batch that is on the model's device."""
        return dict(self._terms(batch))

    def _terms(self, batch: Batch) -> Iterator[tuple[str, Term]]:
        needs_whole = self.alignment is not None or (self.objectives and self.objectives.matching)
        parts = self.encode_all(batch) if needs_whole else None
        if self.alignment is not None and parts is not None:
            loss_B = self.misalignment(parts, batch)
            yield (
                "alignment",
                Term(loss_B, {"loss": (loss_B.detach().sum() / self.alignment.weight, batch.num_rows)}),
            )
        if self.objectives is not None:
            yield from self.objectives(batch, self, parts).items()
