"""Speak a table's texts with several voices: `sensorium synth speech`.

Enters: a table and the column that is spoken.  Leaves: a table with the same columns and one of WAV files.
Rows of the test part are spoken by other speakers than those of the training part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sensorium.core.commit import require_free
from sensorium.core.errors import UsageError
from sensorium.data.synthesis.kept_speech import kept_speech
from sensorium.data.synthesis.speech import Voice, voice_sets
from sensorium.data.synthesis.tables import media_columns, moved, write_table
from sensorium.data.table import Table


@dataclass(frozen=True, slots=True)
class Spoken:
    """What was written: rows, and how many of them have a blank text and stay silent."""

    num_rows: int
    num_silent: int


def speak_table(
    table: Table,
    column: str,
    out: Path,
    *,
    into: str = "speech",
    voices: int = 1,
    seed: int = 0,
    split_column: str | None = None,
) -> Spoken:
    """Write `table` to `out` with each row's text spoken, `voices` rows for each, by different voices.

    The files lie in `speech/` beside `out`.

    Args:
        split_column: where it says "test", held-out speakers speak.

    Raises:
        UsageError: `out` or the new column is there already, or more voices than there are.
        DataError: a column is missing.
        MissingExtraError: without the `demo` extra.
    """
    require_free(out)
    table.position(column)
    if split_column is not None:
        table.position(split_column)
    if into in table.columns:
        raise UsageError(f"has a column '{into}' already", where=table.name, advice="choose another --into")
    fewest = min(len(part) for part in voice_sets())
    if voices > fewest:
        raise UsageError(f"{voices} voices a row, but a part has {fewest}")
    media = media_columns(table)
    num_silent = 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal num_silent
        for i in range(len(table)):
            cells = table.row(i)
            kept = {n: moved(cell, table.folder, out.parent) if n in media else cell for n, cell in cells.items()}
            if not cells[column].strip():
                num_silent += 1
                yield kept
                continue
            is_test = split_column is not None and cells[split_column] == "test"
            for voice in _voices(i, seed, voices, is_test):
                yield kept | {into: kept_speech(cells[column], voice, out.parent)}

    num_rows = write_table(out, [*table.columns, into], rows())
    return Spoken(num_rows, num_silent)


def _voices(row: int, seed: int, number: int, is_test: bool) -> list[Voice]:
    """Draw voices for a row: equal seeds give equal ones."""
    part = voice_sets()[is_test]
    chosen = np.random.default_rng([seed, row]).permutation(len(part))[:number]
    return [part[k] for k in chosen.tolist()]
