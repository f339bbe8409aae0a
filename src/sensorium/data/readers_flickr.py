"""Flickr8k and Flickr30k: five captions an image -> rows of `image`, `caption`, `split`.

    flickr:Flickr8k.token.txt                 'NAME.jpg#0 <tab> caption'; also results_20130124.token of Flickr30k
    flickr:results.csv                        'image_name| comment_number| comment' of Flickr30k
    flickr:captions.txt                       'image,caption', as Flickr8k is passed on today
    flickr:results.csv?images=photos&train=train.txt&dev=val.txt&test=test.txt

The images lie in Flicker8k_Dataset (so called), flickr30k_images or Images.  `split` is by the lists
Flickr_8k.trainImages.txt, .devImages.txt and .testImages.txt, or train.txt, val.txt and test.txt, if they lie
there; their lines are file names, with ending or without.  An image on no list has an empty `split`; one on a list
without a caption is counted in the log.
Source: Hodosh et al. 2013, "Framing image description as a ranking task"; Young et al. 2014 (Q14-1006).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from sensorium.core import text_file
from sensorium.core.errors import DataError
from sensorium.data.beside import cell_prefix, file_beside, folder_beside
from sensorium.data.readers import BadLine, Row, RowStream, row_of
from sensorium.data.readers_delimited import read_csv

logger = logging.getLogger(__name__)

COLUMNS = ["image", "caption", "split"]
PLACES = ("Flicker8k_Dataset", "Flickr8k_Dataset", "Flickr8k_Dataset/Flicker8k_Dataset", "flickr30k_images",
          "flickr30k-images", "Images", "images")  # fmt: skip
LISTS = {
    "train": ("Flickr_8k.trainImages.txt", "train.txt"),
    "dev": ("Flickr_8k.devImages.txt", "val.txt", "dev.txt"),
    "test": ("Flickr_8k.testImages.txt", "test.txt"),
}
_TOKEN = re.compile(r"(?P<image>[^\t#]+)#\d+\t(?P<caption>.*)")
_PIPED = re.compile(r"(?P<image>[^|]+)\|\s*\d+\s*\|(?P<caption>.*)")

Parse = Callable[[str], tuple[str, str] | None]


def read_flickr(path: Path, *, images: str = "", train: str = "", dev: str = "", test: str = "") -> RowStream:
    """Stream the captions of a file.

    Args:
        images: the folder of images, relative to the file's own.
        train, dev, test: lists of image names, likewise.

    Raises:
        DataError: no folder of images, a list that is not there, or a file of another format.
    """
    first = _first_line(path)
    places = [*PLACES, *(f"../{place}" for place in PLACES)]
    prefix = cell_prefix(folder_beside(path, images, places, "images"), path)
    lists = {
        side: file
        for side, given in (("train", train), ("dev", dev), ("test", test))
        if (file := file_beside(path, given, LISTS[side], side)) is not None
    }
    splits = _Splits(lists)
    if first.replace(" ", "").lower() == "image,caption":
        rows = _csv_rows(path)
    elif first.replace(" ", "").lower() == "image_name|comment_number|comment":
        rows = _lines(path, _PIPED, "NAME| NUMBER| CAPTION", skip=1)
    elif _TOKEN.fullmatch(first):
        rows = _lines(path, _TOKEN, "NAME#NUMBER<tab>CAPTION", skip=0)
    else:
        raise DataError(
            "is no file of Flickr captions", where=f"{path.name}:1", advice="expected 'NAME.jpg#0<tab>...'"
        )
    return RowStream(list(COLUMNS), _rows(rows, prefix, splits, path), tuple(lists.values()))


class _Splits:
    """Which part each image belongs to."""

    def __init__(self, lists: dict[str, Path]) -> None:
        self._side: dict[str, str] = {}
        for side, file in lists.items():
            for _, line in text_file.lines(file):
                name = Path(line.strip()).stem
                if name and self._side.setdefault(name, side) != side:
                    advice = "an image belongs to one part"
                    raise DataError(f"'{name}' is on another list too", where=str(file), advice=advice)
        self._unseen = set(self._side)

    def of(self, image: str) -> str:
        stem = Path(image).stem
        self._unseen.discard(stem)
        return self._side.get(stem, "")

    def report(self, where: str) -> None:
        if self._unseen:
            some = ", ".join(sorted(self._unseen)[:3])
            logger.warning("%s: %s listed images have no caption (%s ...)", where, f"{len(self._unseen):,}", some)


def _rows(
    parts: Iterator[BadLine | tuple[int, str, str]], prefix: str, splits: _Splits, path: Path
) -> Iterator[Row | BadLine]:
    for part in parts:
        if isinstance(part, BadLine):
            yield part
            continue
        number, image, caption = part
        cells = {"image": prefix + image.strip(), "caption": caption.strip(), "split": splits.of(image.strip())}
        yield row_of(number, cells)
    splits.report(path.name)


def _lines(
    path: Path, pattern: re.Pattern[str], expected: str, skip: int
) -> Iterator[BadLine | tuple[int, str, str]]:
    for number, text, fault in text_file.lines_with_faults(path):
        if number <= skip or not text.strip():
            continue
        found = pattern.fullmatch(text)
        if fault or found is None:
            yield BadLine(number, fault or f"is not '{expected}'")
        else:
            yield number, found["image"], found["caption"]


def _csv_rows(path: Path) -> Iterator[BadLine | tuple[int, str, str]]:
    for row in read_csv(path).rows:
        if isinstance(row, BadLine):
            yield row
        else:
            image, caption = row.cells.values()
            yield row.line, image, caption


def _first_line(path: Path) -> str:
    for _, text, _ in text_file.lines_with_faults(path):
        if text:
            return text
    raise DataError("is empty", where=str(path))
