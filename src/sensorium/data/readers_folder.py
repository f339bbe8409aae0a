"""A folder of class folders -> rows: one a file, its path in column `media`, its folder in `label`.

    pets/cat/1.jpg    ->    media = "cat/1.jpg", label = "cat"
    pets/dog/a/2.jpg  ->    media = "dog/a/2.jpg", label = "dog"

With `?names=LOC_synset_mapping.txt` (lines such as 'n01440764 tench, Tinca tinca'; ImageNet's words.txt parts by a
tab), a column `name` says what a class is called.

Classes and files come in sorted order.  Hidden files and folders are no rows, nor are links to folders;
a file that lies beside the class folders has no class, so it is a BadLine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sensorium.core import text_file
from sensorium.core.errors import DataError
from sensorium.data.litter import is_litter
from sensorium.data.readers import BadLine, Row, RowStream, row_of


def read_class_folders(path: Path, *, names: str = "") -> RowStream:
    """Open a folder of class folders.

    Args:
        names: a file of what classes are called, relative to the folder.

    Raises:
        DataError: not a folder, no class folder in it, or a class that `names` lacks.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    if not path.is_dir():
        raise DataError("is not a folder", where=str(path))
    classes = [name for name in _names(path) if (path / name).is_dir()]
    if not classes:
        raise DataError("has no class folders", where=str(path), advice="expected FOLDER/CLASS/FILE")
    if not names:
        return RowStream(["media", "label"], _rows(path, {}))
    file = path / Path(names).expanduser()
    called = _names_of(file)
    if missing := [name for name in classes if name not in called]:
        what = f"does not name {len(missing):,} of the classes, such as '{missing[0]}'"
        raise DataError(what, where=str(file), advice="expected 'CLASS NAME' on each line")
    return RowStream(["media", "label", "name"], _rows(path, called), (file,))


def _names_of(file: Path) -> dict[str, str]:
    try:
        parted = [(text_file.fields(line)[:1], line.strip()) for _, line in text_file.lines(file)]
    except FileNotFoundError:
        raise DataError(
            "no such file of names", where=str(file), advice="see it from the folder of classes"
        ) from None
    return {key[0]: line.removeprefix(key[0]).strip() for key, line in parted if key and key[0] != line}


def _rows(root: Path, called: dict[str, str]) -> Iterator[Row | BadLine]:
    number = 0
    for name in _names(root):
        files = _files(root / name) if (root / name).is_dir() else [root / name]
        for file in files:
            number += 1
            relative = file.relative_to(root).as_posix()
            if file == root / name:
                yield BadLine(number, f"'{relative}' is in no class folder")
            else:
                cells = {"media": relative, "label": name}
                yield row_of(number, cells | {"name": called[name]} if called else cells)


def _files(folder: Path) -> Iterator[Path]:
    for name in _names(folder):
        path = folder / name
        if path.is_dir():
            if not path.is_symlink():  # a link to a folder above would never end
                yield from _files(path)
        else:
            yield path


def _names(folder: Path) -> list[str]:
    names = (path.name for path in folder.iterdir())
    return sorted(name for name in names if not is_litter(name))
