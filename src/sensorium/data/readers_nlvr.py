"""NLVR as a table: a drawn scene of three boxes, a sentence about it, and whether it is true.

Enters: FOLDER/train or FOLDER/dev, where FOLDER holds `examples.tsv` (split, image, sentence, label) and `images`.
Leaves: rows of `image` (path), `sentence`, `label` ('true' or 'false').
Source: Suhr et al. 2017, "A corpus of natural language for visual reasoning" (P17-2034).

    nlvr:data/nlvr/train
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from sensorium.core.errors import DataError
from sensorium.data.readers import BadLine, Row, RowStream
from sensorium.data.readers_delimited import read_delimited

COLUMNS = ["image", "sentence", "label"]
EXAMPLES = "examples.tsv"
PARTS = {"train": "train", "dev": "dev"}
"""What the column `split` begins with, by part; a sample of the training part may be called 'train1000'."""
LABELS = ("true", "false")


def read_nlvr(path: Path) -> RowStream:
    """Stream the examples of the part that `path` ends in.

    Raises:
        DataError: no such part, no examples, or a table without the columns.
    """
    if path.name not in PARTS:
        advice = f"choose {' or '.join(PARTS)}"
        raise DataError(f"NLVR has no part '{path.name}'", where=str(path), advice=advice)
    examples = path.parent / EXAMPLES
    if not examples.is_file():
        raise DataError(
            "no such table", where=str(examples), advice="expected the columns split, image, sentence, label"
        )
    return RowStream(list(COLUMNS), _rows(examples, PARTS[path.name]))


def _rows(examples: Path, begins: str) -> Iterator[Row | BadLine]:
    table = read_delimited(examples, {"delimiter": "\t", "quoting": csv.QUOTE_NONE})
    missing = {"split", *COLUMNS} - set(table.columns)
    if missing:
        raise DataError(f"has no column '{min(missing)}'", where=str(examples))
    for number, row in enumerate(table.rows, start=2):
        if isinstance(row, BadLine):
            yield row
            continue
        cells = row.cells
        if not cells["split"].startswith(begins):
            continue
        if cells["label"] not in LABELS:
            yield BadLine(number, f"the label is '{cells['label']}', not 'true' or 'false'")
            continue
        image = str((examples.parent / "images" / cells["image"]).resolve())
        yield Row(number, {"image": image, "sentence": cells["sentence"], "label": cells["label"]})
