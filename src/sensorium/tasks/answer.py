"""Answer a question about media: short texts, chosen among the known ones where they are few."""

from __future__ import annotations

from sensorium.data.list_cells import Means
from sensorium.tasks.task import CLOSED_LIMIT


class Answer:
    """Visual or spoken question answering."""

    name = "answer"
    tokenizer = "word"
    metrics = ("accuracy", "exact_match", "macro_f1")
    many_references = False
    lists: Means = "rows"

    def is_closed(self, num_answers: int) -> bool:
        """Choose among the known answers while they are few."""
        return num_answers <= CLOSED_LIMIT
