"""Describe media in words: free text, judged against every reference of the same media."""

from __future__ import annotations


class Caption:
    """Captioning of images or sounds."""

    name = "caption"
    tokenizer = "word"
    metrics = ("bleu4", "bleu1", "bleu2", "bleu3", "meteor_exact_stem", "rouge_l", "cider_d", "distinct2")
    many_references = True

    def is_closed(self, num_answers: int) -> bool:
        """Write freely."""
        return False
