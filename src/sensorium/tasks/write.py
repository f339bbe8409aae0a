"""Write text: a language model of the target, judged by its perplexity alone."""

from __future__ import annotations

from sensorium.data.list_cells import Means


class Write:
    """Free text that has no one right answer: books, plays, code."""

    name = "write"
    tokenizer = "character"
    metrics: tuple[str, ...] = ()
    many_references = False
    lists: Means = "rows"

    def is_closed(self, num_answers: int) -> bool:
        """Write freely."""
        return False
