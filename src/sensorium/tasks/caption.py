"""Describe media in words: free text, judged against every reference of the same media."""

from __future__ import annotations

from sensorium.data.list_cells import Means


class Caption:
    """Captioning of images or sounds."""

    name = "caption"
    tokenizer = "word"
    metrics = ("bleu4", "bleu1", "bleu2", "bleu3", "meteor_exact_stem", "rouge_l", "cider_d", "distinct2")
    many_references = True
    lists: Means = "rows"

    def is_closed(self, num_answers: int) -> bool:
        """Write freely."""
        return False
