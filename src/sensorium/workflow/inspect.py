"""Look at a table: what each column holds, and a commented config that trains on it.

Enters: a table.  Leaves: one `ColumnFacts` a column, and TOML text.
The guess is by file name endings and by text length and repetition; the user edits the rest.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sensorium.core.config import write_toml
from sensorium.core.errors import DataError
from sensorium.data.several import Several
from sensorium.data.splits import split_column_of
from sensorium.data.table import Table
from sensorium.media.address import ending

ENDINGS: dict[str, str] = {
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"), "image"),
    **dict.fromkeys((".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus", ".webm"), "audio"),
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".mkv", ".avi", ".mpg", ".mpeg", ".wmv", ".flv"), "video"),
}
ENCODER_OF = {"image": "cnn", "audio": "cnn", "video": "frames", "text": "gru"}
TARGET_NAMES = ("answer", "caption", "label", "class", "target", "transcript", "sentence", "text", "y")
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
        is_listed: whether cells hold lists.
    """

    name: str
    kind: str
    filled: float
    distinct: int
    mean_words: float
    is_listed: bool = False


def look_at(table: Table, num_rows: int = LOOKED_AT) -> list[ColumnFacts]:
    """Describe every column from the first rows.  Raises DataError: the table has no rows."""
    if not len(table):
        raise DataError("has no rows", where=table.name)
    looked_at = {name: list(itertools.islice(table.column(name), num_rows)) for name in table.columns}
    listed = table.structured | {name for name, has_texts in table.written.items() if has_texts}
    return [_facts(name, cells, name in listed) for name, cells in looked_at.items()]


def _facts(name: str, cells: list[str], is_listed: bool) -> ColumnFacts:
    filled = [cell for cell in cells if cell.strip()]
    if is_listed:
        filled = [text for cell in filled for text in Several().split(cell)]
    endings = [ENDINGS.get(ending(cell), "text") for cell in filled]
    kind = max(set(endings), key=endings.count) if endings else "text"
    words = sum(len(cell.split()) for cell in filled) / max(len(filled), 1)
    share = sum(bool(cell.strip()) for cell in cells) / len(cells)
    return ColumnFacts(name, kind, share, len(set(filled)), words, is_listed)


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
    if target.mean_words > SHORT_TEXT_WORDS or target.distinct > FEW_DISTINCT or target.is_listed:
        return "caption"
    asked = any(column.kind == "text" for column in inputs)
    return "answer" if asked else "classify"


def begins_config(begins: bytes) -> bool:
    """Say whether a file that begins with these bytes is a config, as `config_for` writes them."""
    return re.search(rb"(?m)^\s*\[(data|inputs)\b", begins) is not None


def config_for(table: Table, spec: str, columns: list[ColumnFacts]) -> str:
    """Write a commented config that trains on `table`, given as `spec`."""
    split = split_column_of(table)
    columns = [column for column in columns if column.name != split]
    target = guess_target(columns)
    inputs = [column for column in columns if column is not target and _is_input(column, ":" in spec)]
    if not inputs:
        raise DataError("no column to learn from", where=table.name, advice="a table needs two columns or more")
    task = guess_task(target, inputs)
    names = _names([column.name for column in inputs])
    blocks = [
        f"# Made by `sensorium init` from {len(table):,} rows of {_shown(table.name)}; every line may be changed.",
        "# Train it:  sensorium train THIS_FILE      Look first:  sensorium check THIS_FILE\n",
        _section(
            "data",
            {"train": spec, "split_column": split},
            [] if split else ['test = "..."             # rows to be judged on; without, 10 % are held back'],
        ),
    ]
    for column in inputs:
        facts = f"# {column.filled:.0%} of the rows have it, {column.distinct:,} distinct"
        values: dict[str, Any] = {
            "modality": column.kind,
            "encoder": ENCODER_OF[column.kind],
            "column": column.name,
        }
        if column.is_listed:
            values["several"] = True
        blocks.append(f"{facts}\n" + _section(f"inputs.{names[column.name]}", values))
    blocks.append(_section("target", {"column": target.name, "task": task}))
    blocks.append(_section("fusion", {"features": "concat", "width": 128}))
    scorers = ["transformer", "ngram"] if task == "caption" else ["transformer"]
    blocks.append(_section("language", {"scorers": scorers}))
    training = {"epochs": 20, "batch_rows": 64, "learning_rate": 0.001, "patience": 3}
    blocks.append(_section("training", training, ["seconds = 120             # or a time budget"]))
    return "\n".join(blocks)


def _is_input(column: ColumnFacts, is_published: bool) -> bool:
    identifies = column.name.lower() in ("id", "split", "n", "index", "row")
    return column.distinct > 1 and not identifies and not (is_published and _keeps_books(column.name))


def _keeps_books(name: str) -> bool:
    return name in BOOKKEEPING or name.startswith("json.")


def _shown(name: str) -> str:
    """Return a file's name as a comment can hold it."""
    return "".join(c if c.isprintable() else "?" for c in name)


def _section(name: str, values: dict[str, Any], comments: list[str] | None = None) -> str:
    body = write_toml(values) + "".join(f"# {line}\n" for line in comments or [])
    return f"[{name}]\n{body}"


def _names(columns: Sequence[str]) -> dict[str, str]:
    """Name the input of each column as a config can: what is left of the column's name, told apart by a number."""
    names: dict[str, str] = {}
    for number, column in enumerate(columns, start=1):
        kept = re.sub(r"[^A-Za-z0-9_-]", "_", column)
        if not re.search("[A-Za-z0-9]", kept):  # a name in another script
            kept = f"input_{number}"
        name = kept if kept[0].isalpha() or kept[0] == "_" else f"input_{kept}"
        while name in names.values():
            name = f"{name}_{number}"
        names[column] = name
    return names
