"""Common Voice: a TSV of clips and sentences -> rows of `audio`, `sentence` and what is known of the speaker.

    commonvoice:cv-corpus-17.0/en/train.tsv                     clips in cv-corpus-17.0/en/clips
    commonvoice:en/train.tsv?clips=/recordings/en

Leaves: rows of `audio` (path) and `sentence`, then the file's other columns as they are (client_id, age, gender,
accents, ...; which ones depends on the version).  Early releases write clips without '.mp3'; it is added.
Quotes are ordinary characters, as in the releases.
Source: Ardila et al. 2020, "Common Voice" (2020.lrec-1.520).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sensorium.core.errors import DataError
from sensorium.data.beside import cell_prefix, folder_beside
from sensorium.data.readers import BadLine, Row, RowStream
from sensorium.data.readers_delimited import read_delimited

CLIP, SENTENCE = "path", "sentence"


def read_commonvoice(path: Path, *, clips: str = "") -> RowStream:
    """Stream the clips of a part.

    Args:
        clips: the folder of recordings, relative to the file's own.

    Raises:
        DataError: no such folder, or a file without the columns `path` and `sentence`.
    """
    stream = read_delimited(path, {"delimiter": "\t", "quoting": csv.QUOTE_NONE})
    for name in (CLIP, SENTENCE):
        if name not in stream.columns:
            advice = f"expected Common Voice's columns; it has {', '.join(stream.columns[:8])}"
            raise DataError(f"has no column '{name}'", where=path.name, advice=advice)
    prefix = cell_prefix(folder_beside(path, clips, ["clips", "../clips"], "clips"), path)
    others = [name for name in stream.columns if name not in (CLIP, SENTENCE)]
    return RowStream(["audio", SENTENCE, *others], _rows(stream.rows, prefix, others))


def _rows(rows: Iterator[Row | BadLine], prefix: str, others: list[str]) -> Iterator[Row | BadLine]:
    for row in rows:
        if isinstance(row, BadLine):
            yield row
            continue
        clip = row.cells[CLIP].strip()
        if not clip:
            yield BadLine(row.line, f"names no clip in '{CLIP}'")
            continue
        name = clip if PurePosixPath(clip).suffix else f"{clip}.mp3"
        cells = {"audio": prefix + name, SENTENCE: row.cells[SENTENCE]}
        yield Row(row.line, cells | {other: row.cells[other] for other in others})
