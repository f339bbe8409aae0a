"""COCO captions: one JSON object with `images` and `annotations` -> rows of `image` and `caption`.

    coco:annotations/captions_train2017.json                        images in ../train2017
    coco:annotations/captions_val2014.json?images=/photos/val2014   images elsewhere

Leaves: rows of `image` (path), `caption`, `image_id`; one for each annotation, numbered as in the file.  An
annotation whose image is not listed, or that has no caption, is a BadLine; images without a caption are counted
in the log; one id for two files is refused.  The file is read as a stream; only the names of the images are kept.
Source: Chen et al. 2015, "Microsoft COCO Captions" (arXiv 1504.00325); https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensorium.core.errors import DataError
from sensorium.data.beside import cell_prefix, folder_beside
from sensorium.data.json_stream import elements
from sensorium.data.readers import BadLine, Row, RowStream, row_of

logger = logging.getLogger(__name__)

COLUMNS = ["image", "caption", "image_id"]


def read_coco(path: Path, *, images: str = "") -> RowStream:
    """Stream the captions of a file.

    Args:
        images: the folder of the images, relative to the file's own; by default the folder beside or above it
            that is called as the file's name ends ('train2017').

    Raises:
        DataError: no folder of images; while rows are read: not JSON, cut short, or without a list of either.
    """
    path.stat()  # an absent file is the caller's OSError
    folder = folder_beside(path, images, image_places(path), "images")
    return RowStream(list(COLUMNS), _rows(path, cell_prefix(folder, path)))


def image_places(path: Path) -> list[str]:
    """Return where the images of an annotation file usually lie."""
    subset = path.stem.rpartition("_")[2]
    return [f"../{subset}", subset, f"../images/{subset}", f"images/{subset}", "../images", "images"]


def _rows(path: Path, prefix: str) -> Iterator[Row | BadLine]:
    names = _image_names(path)
    captioned: set[int | str] = set()
    for number, annotation in elements(path, "annotations"):
        fault = _fault(annotation, names)
        if fault:
            yield BadLine(number, fault)
            continue
        image_id = annotation["image_id"]
        captioned.add(image_id)
        caption = " ".join(annotation["caption"].split())
        cells = {"image": prefix + names[image_id], "caption": caption, "image_id": str(image_id)}
        yield row_of(number, cells)
    if len(names) > len(captioned):
        logger.warning("%s: %s images have no caption", path.name, f"{len(names) - len(captioned):,}")


def _image_names(path: Path) -> dict[int | str, str]:
    names: dict[int | str, str] = {}
    for number, image in elements(path, "images"):
        is_good = isinstance(image, dict) and isinstance(image.get("id"), int | str)
        if not is_good or not isinstance(image.get("file_name"), str):
            raise DataError(f"record {number:,} of 'images' lacks 'id' or 'file_name'", where=path.name)
        name = names.setdefault(image["id"], image["file_name"])
        if name != image["file_name"]:
            what = f"'images' has the id {image['id']!r} of '{name}' for '{image['file_name']}', too"
            raise DataError(what, where=path.name, advice="number the images anew, and their captions with them")
    return names


def _fault(annotation: Any, names: dict[int | str, str]) -> str:
    if not isinstance(annotation, dict):
        return "the annotation is no JSON object"
    if not isinstance(annotation.get("caption"), str):
        return "the annotation has no 'caption' (is this a captions_*.json?)"
    image_id = annotation.get("image_id")
    if not isinstance(image_id, int | str) or image_id not in names:
        return f"its image {image_id!r} is not listed in 'images'"
    return ""
