"""Which judged rows a report shows, and how: the best, the worst, and some of each confusion.

Enters: an evaluation and the corpus that it judged.  Leaves: `report.facts.Row` and `Confusion`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.data.corpus import Corpus
from sensorium.evaluation.intervals import row_values
from sensorium.evaluation.runner import Evaluation
from sensorium.model.multimodal import MultimodalLM
from sensorium.report.confusions import confuse
from sensorium.report.facts import Confusion, Row
from sensorium.report.inline_media import Inliner, cut

SHOWN = 24
"""Rows of each gallery."""
RANKED_ROWS = 5_000
"""So many of the judged rows are ranked by themselves."""
ROWS_A_CELL = {True: 2, False: 6}
"""Rows shown of one cell of the confusion matrix: where it was right, where it was wrong."""
MOST_CELL_ROWS = 150


class JudgedRows:
    """The rows of an evaluation, ready to be shown."""

    def __init__(
        self,
        model: MultimodalLM,
        corpus: Corpus,
        evaluation: Evaluation,
        metric: str,
        inliner: Inliner,
        *,
        lower_is_better: bool,
    ) -> None:
        self.modality = {name: preparer.modality for name, preparer in model.preparers.items()}
        self._corpus = corpus
        self._judged = evaluation.predictions
        self._inliner = inliner
        self._said, self._right = evaluation.said, evaluation.right
        said, right = self._said[:RANKED_ROWS], self._right[:RANKED_ROWS]
        self._score_N = row_values(metric, said, right, evaluation.vectors) if said else np.zeros(0)
        self._sign = -1.0 if lower_is_better else 1.0

    def extremes(self, number: int = SHOWN) -> tuple[list[Row], list[Row]]:
        """Return the best and the worst rows.

        Of rows of equal score, the surer is better where nothing could be better, and worse where it is wrong.
        """
        if not len(self._score_N):
            return [], []
        quality_N = self._sign * self._score_N
        sure_N = np.array([self._judged[i][1].probability for i in range(len(quality_N))])
        is_best_N = quality_N >= quality_N.max()
        order_N = np.lexsort((np.where(is_best_N, sure_N, -sure_N), quality_N))
        number = min(number, len(order_N) // 2)
        best = [self.row(i) for i in order_N[::-1][:number].tolist()]
        worst = [self.row(i) for i in order_N[:number].tolist()]
        return best, worst

    def confusion(self) -> Confusion | None:
        """Return what was said for what was right, None where nothing was judged."""
        if not self._judged:
            return None
        names, counts, cells, num_folded = confuse([refs[0] for refs in self._right], self._said)
        samples: dict[tuple[int, int], Sequence[Row]] = {}
        left = MOST_CELL_ROWS
        for i, j in sorted(cells, key=lambda cell: (cell[0] == cell[1], -counts[cell[0]][cell[1]])):
            rows = sorted(cells[i, j], key=lambda row: -self._judged[row][1].probability)
            chosen = rows[: min(ROWS_A_CELL[i == j], left)]
            if chosen:
                samples[i, j] = [self.row(row) for row in chosen]
                left -= len(chosen)
        return Confusion(
            answers=[cut(name, 60) for name in names], counts=counts, samples=samples, num_folded=num_folded
        )

    def row(self, position: int) -> Row:
        """Return one judged row as it is shown."""
        index, prediction, references = self._judged[position]
        sample = self._corpus.sample(index)
        inputs = [
            shown
            for name, item in sample.inputs.items()
            for shown in self._inliner.show(name, self.modality.get(name, "text"), item)
        ]
        return Row(
            where=sample.id,
            inputs=inputs,
            expected=[cut(text) for text in references],
            answer=cut(prediction.text),
            probability=prediction.probability,
            score=float(self._score_N[position]) if position < len(self._score_N) else float("nan"),
            alternatives=[(cut(text, 60), p) for text, p in prediction.alternatives],
            is_bound=prediction.is_bound,
        )
