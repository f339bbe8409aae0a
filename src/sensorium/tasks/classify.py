"""Give one label: a label is a text of one token, so a classifier is a language model too."""

from __future__ import annotations

from sensorium.data.list_cells import Means


class Classify:
    """Single-label classification of any inputs."""

    name = "classify"
    tokenizer = "label"
    metrics = ("accuracy", "macro_f1")
    many_references = False
    lists: Means = "one"

    def is_closed(self, num_answers: int) -> bool:
        """Choose among the labels."""
        return True
