"""What was said for what was right, with rows to look at for each cell.

Enters: judged rows with one right answer each.  Leaves: the counts of the most frequent answers, and of all
others together, and which rows stand in each cell.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

MOST_ANSWERS = 16
OTHERS = "(others)"


def confuse(
    right: Sequence[str], said: Sequence[str], most: int = MOST_ANSWERS
) -> tuple[list[str], list[list[int]], dict[tuple[int, int], list[int]], int]:
    """Count answers.

    Returns:
        names, most frequent first; counts[right][said]; the positions of the rows of each cell; and how many
        answers are folded into the last name.
    """
    totals = Counter(right)
    totals.update(dict.fromkeys(said, 0))
    names = sorted(totals, key=lambda text: (-totals[text], text))
    num_folded = max(0, len(names) - most) if len(names) > most + 1 else 0
    index = {text: min(i, most) if num_folded else i for i, text in enumerate(names)}
    shown = [*names[:most], OTHERS] if num_folded else names
    counts = [[0] * len(shown) for _ in shown]
    cells: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, (true, answer) in enumerate(zip(right, said, strict=True)):
        i, j = index[true], index[answer]
        counts[i][j] += 1
        cells[i, j].append(row)
    return shown, counts, dict(cells), num_folded
