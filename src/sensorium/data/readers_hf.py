"""Hugging Face data sets: folders of `save_to_disk`, folders of Parquet, and names on the hub -> rows.

    hf:saved                                a folder of Dataset.save_to_disk or DatasetDict.save_to_disk
    hf:clone?split=train                    a clone of a hub repository: data/train-00000-of-00002.parquet, ...
    hf:clone?config=en                      of one configuration, the Parquet files in its folder
    hf:user/name?split=train&revision=main  a name on the hub, fetched by the package `datasets` (extra `datasets`)

Leaves: the columns as they are, labels by name; without `split`, where there are several, a column `split` too.
Nothing is decoded and no code of a data set is ever run: cells of images and sounds say where the bytes lie
(`sensorium.data.arrow_media`), and the media gateway opens them.  Parquet with media is first written as Arrow,
once, into `.sensorium_arrow` beside it.  Columns of other bytes are left out, and the log says so.
Source: https://huggingface.co/docs/datasets, "Save", "Load", repository structure; Apache Arrow's IPC format.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sensorium.core import text_file
from sensorium.core.errors import DataError, MissingExtraError
from sensorium.data.arrow_media import ArrowFile
from sensorium.data.litter import is_litter
from sensorium.data.readers import BadLine, Row, RowStream, row_of

logger = logging.getLogger(__name__)

SPLIT = "split"
_ADVICE = "save it again with save_to_disk"


def read_hf(path: Path, *, split: str = "", config: str = "", revision: str = "") -> RowStream:
    """Stream the rows of a data set, or of one of its splits.

    Args:
        split: 'train', ...; by default all, one after the other.
        config: which of several configurations.
        revision: branch, tag or commit on the hub.

    Raises:
        MissingExtraError: pyarrow, or for names on the hub `datasets`, is not installed.
        DataError: no such data set or split; while rows are read: a file is cut short or damaged.
        DiskError: Parquet with media cannot be written as Arrow.
    """
    _require_pyarrow(path)
    parts = _parts(path, config, revision)
    if split and split not in parts:
        raise DataError(f"has no split '{split}'", where=str(path), advice=f"it has {', '.join(parts)}")
    chosen = {split: parts[split]} if split else parts
    opened = {name: [ArrowFile.open(file, path) for file in files] for name, files in chosen.items()}
    first = next((file for files in opened.values() for file in files), None)
    if first is None:
        raise DataError("holds no rows", where=str(path))
    is_named = len(chosen) > 1 and SPLIT not in first.columns
    files = tuple(file.path for files in opened.values() for file in files)
    return RowStream(
        [*first.columns, *([SPLIT] if is_named else [])], _rows(opened, first.columns, is_named), files
    )


def _rows(
    opened: Mapping[str, Sequence[ArrowFile]], columns: Sequence[str], is_named: bool
) -> Iterator[Row | BadLine]:
    number = 0
    for name, files in opened.items():
        for file in files:
            if list(file.columns) != list(columns):
                what = f"has the columns {', '.join(file.columns)}, others {', '.join(columns)}"
                raise DataError(what, where=str(file.path), advice="read its splits one by one: ?split=NAME")
            for cells in file.rows():
                number += 1
                yield row_of(number, cells | {SPLIT: name} if is_named else cells)


def _parts(path: Path, config: str, revision: str) -> dict[str, list[Path]]:
    """Return the files of each split."""
    if not path.exists():
        return _from_hub(path.as_posix(), config, revision)
    if not path.is_dir():
        raise DataError(
            "is not a folder", where=str(path), advice="name the data set's folder; Parquet needs no 'hf:'"
        )
    if (path / "dataset_dict.json").is_file():
        names = _json(path / "dataset_dict.json").get("splits", [])
        return {str(name): _saved(path / str(name)) for name in names}
    if (path / "state.json").is_file():
        return {_split_of(path): _saved(path)}
    return _parquet(path, config) or _from_hub(str(path), config, revision)


def _saved(folder: Path) -> list[Path]:
    """List the Arrow files of `save_to_disk`."""
    if not (folder / "state.json").is_file():
        raise DataError("lacks its state.json", where=str(folder), advice=_ADVICE)
    state = _json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise DataError(
            "keeps its rows in another order", where=str(folder), advice="save it after flatten_indices()"
        )
    try:
        files = [folder / Path(entry["filename"]).name for entry in state["_data_files"]]
    except (KeyError, TypeError):
        raise DataError("does not list its files", where=str(folder / "state.json"), advice=_ADVICE) from None
    for file in files:
        if not file.is_file():
            raise DataError("is missing", where=str(file), advice="copy the whole folder again")
    return files


def _split_of(folder: Path) -> str:
    return str(_json(folder / "state.json").get("_split") or "train")


def _parquet(path: Path, config: str) -> dict[str, list[Path]]:
    """List Parquet files by split, which their names begin with: 'train-00000-of-00002.parquet'."""
    folders = [path / config / "data", path / config] if config else [path / "data", path]
    for folder in folders:
        parts: dict[str, list[Path]] = {}
        for file in sorted(file for file in folder.glob("*.parquet") if not is_litter(file.name)):
            parts.setdefault(file.stem.partition("-")[0], []).append(file)
        if parts:
            _require_all(parts, folder)
            return parts
    if config:
        raise DataError(f"has no Parquet files of '{config}'", where=str(path), advice="name one of its folders")
    return {}


def _require_all(parts: Mapping[str, Sequence[Path]], folder: Path) -> None:
    """Notice a file that is missing of those that the others' names count."""
    for name, files in parts.items():
        total = files[0].stem.rpartition("-of-")[2]
        if total.isdigit() and len(files) != int(total):
            what = f"holds {len(files)} of the {int(total)} files of '{name}'"
            raise DataError(what, where=str(folder), advice="fetch the others too (git lfs pull)")


def _from_hub(name: str, config: str, revision: str) -> dict[str, list[Path]]:
    """Let `datasets` fetch or build a data set; take its Arrow files."""
    try:
        import datasets
    except ImportError:
        raise MissingExtraError(
            "is no folder of Arrow or Parquet files; to look for it on the hub needs the package 'datasets'",
            where=name,
            advice="pip install 'sensorium[datasets]', or name a folder",
        ) from None
    try:
        found = datasets.load_dataset(name, config or None, revision=revision or None)
    except Exception as error:  # a network, a hub or a builder may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"cannot be had from the hub: {reason}", where=name) from None
    return {str(split): [Path(file["filename"]) for file in part.cache_files] for split, part in found.items()}


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(text_file.whole(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not JSON: {error}", where=str(path), advice=_ADVICE) from None
    if not isinstance(value, dict):
        raise DataError("is no JSON object", where=str(path), advice=_ADVICE)
    return value


def _require_pyarrow(path: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "reading Hugging Face data sets needs pyarrow",
            where=str(path),
            advice="pip install 'sensorium[parquet]'",
        ) from None
