"""Look at a table: what each column holds, and a commented config that trains on it.

Enters: a table.  Leaves: one `ColumnFacts` a column, and TOML text.
The guess is by file name endings and by text length and repetition; the user edits the rest.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Any

from sensorium.core.config import write_toml
from sensorium.core.errors import DataError
from sensorium.data.table import Table
from sensorium.media.address import ending

ENDINGS: dict[str, str] = {
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"), "image"),
    **dict.fromkeys((".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus", ".webm"), "audio"),
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".mkv", ".avi", ".mpg", ".mpeg", ".wmv", ".flv"), "video"),
}
ENCODER_OF = {"image": "cnn", "audio": "cnn", "video": "frames", "text": "gru"}
TARGET_NAMES = ("answer", "caption", "label", "class", "target", "transcript", "sentence", "text", "y")
SPLIT_NAMES = {"train", "validation", "valid", "dev", "test", ""}
BOOKKEEPING = frozenset({
    "key", "name", "image_id", "question_id", "question_type", "answer_type", "answers", "start_s", "end_s",
    "subset", "utterance", "chapter", "speaker", "client_id", "sentence_id", "sentence_domain", "up_votes",
    "down_votes", "age", "gender", "accent", "accents", "variant", "locale", "segment",
})  # fmt: skip
"""Columns of published data sets that say which row it is, or what is known of it: nothing to learn from, and some
give the answer away."""
LOOKED_AT = 5_000
FEW_DISTINCT = 1_000
SHORT_TEXT_WORDS = 4.0


@dataclass(frozen=True)
class ColumnFacts:
    """What the first rows show of one column.

    Attributes:
        kind: a modality.
        filled: share of rows that have it, 0..1.
        distinct: number of distinct values.
        mean_words: words a filled cell (text).
    """

    name: str
    kind: str
    filled: float
    distinct: int
    mean_words: float


def look_at(table: Table, num_rows: int = LOOKED_AT) -> list[ColumnFacts]:
    """Describe every column from the first rows.  Raises DataError: the table has no rows."""
    if not len(table):
        raise DataError("has no rows", where=table.name)
    return [_facts(name, list(itertools.islice(table.column(name), num_rows))) for name in table.columns]


def _facts(name: str, cells: list[str]) -> ColumnFacts:
    filled = [cell for cell in cells if cell.strip()]
    endings = [ENDINGS.get(ending(cell), "text") for cell in filled]
    kind = max(set(endings), key=endings.count) if endings else "text"
    words = sum(len(cell.split()) for cell in filled) / max(len(filled), 1)
    return ColumnFacts(name, kind, len(filled) / len(cells), len(set(filled)), words)


def guess_target(columns: list[ColumnFacts]) -> ColumnFacts:
    """Choose the column to produce: by its usual names, else the last text column.

    Raises:
        DataError: no column holds text.
    """
    texts = [column for column in columns if column.kind == "text" and column.distinct > 1]
    if not texts:
        raise DataError("no column of texts to learn to produce", advice="a target is a text or a label")
    named = [column for name in TARGET_NAMES for column in texts if column.name.lower() == name]
    return named[0] if named else texts[-1]


def guess_task(target: ColumnFacts, inputs: list[ColumnFacts]) -> str:
    """Choose the task: labels to classify, short texts to answer, long ones to write as captions."""
    if target.mean_words > SHORT_TEXT_WORDS or target.distinct > FEW_DISTINCT:
        return "caption"
    asked = any(column.kind == "text" for column in inputs)
    return "answer" if asked else "classify"


def begins_config(begins: bytes) -> bool:
    """Say whether a file that begins with these bytes is a config, as `config_for` writes them."""
    return re.search(rb"(?m)^\s*\[(data|inputs)\b", begins) is not None


def config_for(table: Table, spec: str, columns: list[ColumnFacts]) -> str:
    """Write a commented config that trains on `table`, given as `spec`."""
    target = guess_target(columns)
    inputs = [column for column in columns if column is not target and _is_input(column, ":" in spec)]
    if not inputs:
        raise DataError("no column to learn from", where=table.name, advice="a table needs two columns or more")
    task = guess_task(target, inputs)
    split = _split_column(table)
    blocks = [
        f"# Made by `sensorium init` from {len(table):,} rows of {table.name}; every line may be changed.",
        "# Train it:  sensorium train THIS_FILE      Look first:  sensorium check THIS_FILE\n",
        _section(
            "data",
            {"train": spec} | split,
            [] if split else ['test = "..."             # rows to be judged on; without, 10 % are held back'],
        ),
    ]
    for column in inputs:
        facts = f"# {column.filled:.0%} of the rows have it, {column.distinct:,} distinct"
        values = {"modality": column.kind, "encoder": ENCODER_OF[column.kind], "column": column.name}
        blocks.append(f"{facts}\n" + _section(f"inputs.{_name(column.name)}", values))
    blocks.append(_section("target", {"column": target.name, "task": task}))
    blocks.append(_section("fusion", {"features": "concat", "width": 128}))
    scorers = ["transformer", "ngram"] if task == "caption" else ["transformer"]
    blocks.append(_section("language", {"scorers": scorers}))
    training = {"epochs": 20, "batch_rows": 64, "learning_rate": 0.001, "patience": 3}
    blocks.append(_section("training", training, ["seconds = 120             # or a time budget"]))
    return "\n".join(blocks)


def _split_column(table: Table) -> dict[str, str]:
    """Use a column called "split" whose cells name parts."""
    cells = set(itertools.islice(table.column("split"), LOOKED_AT)) if "split" in table.columns else set()
    return {"split_column": "split"} if "train" in cells and cells <= SPLIT_NAMES else {}


def _is_input(column: ColumnFacts, is_published: bool) -> bool:
    identifies = column.name.lower() in ("id", "split", "n", "index", "row")
    return column.distinct > 1 and not identifies and not (is_published and _keeps_books(column.name))


def _keeps_books(name: str) -> bool:
    return name in BOOKKEEPING or name.startswith("json.")


def _section(name: str, values: dict[str, Any], comments: list[str] | None = None) -> str:
    body = write_toml(values) + "".join(f"# {line}\n" for line in comments or [])
    return f"[{name}]\n{body}"


def _name(column: str) -> str:
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in column)
    return name if name[:1].isalpha() or name[:1] == "_" else f"input_{name}"
