"""Find what means the same: the photo of a caption, the captions of a photo, any input by any other.

Nothing is written, so there is no target and no scorer: inputs are encoded, pooled and aligned as unit vectors
(`sensorium.fusion.alignment`), and the nearest ones are found.
"""

from __future__ import annotations

from sensorium.data.list_cells import Means


class Retrieve:
    """Retrieval of any input by any other, in both directions."""

    name = "retrieve"
    tokenizer = ""
    metrics = ()
    many_references = False
    lists: Means = "one"
    num_found = 5

    def is_closed(self, num_answers: int) -> bool:
        """Say no: there are no answers."""
        return False
