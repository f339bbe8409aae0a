"""easy-VQA as a table: small pictures of shapes, questions, one-word answers; typed, or spoken too.

Enters: a part, 'train' or 'test'; for the spoken table, a folder to keep the speech in.
Leaves: rows of `photo` (path), `question` (text), `answer`; spoken rows also have `speech` (path).
Source: the `easy-vqa` package (Zhou 2019; 4,000 + 1,000 images, 38,575 + 9,673 questions); the speech is
made here by espeak-ng, in voices that differ between the two parts.

    easy-vqa:train              typed questions
    spoken-easy-vqa:DIR/train   of five rows two are typed, one is spoken, two are both
    spoken-easy-vqa:DIR/test    every row typed and spoken, by voices that training never heard
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from sensorium.core.errors import DataError, MissingExtraError
from sensorium.data.readers import BadLine, Row, RowStream
from sensorium.data.synthesis.kept_speech import kept_speech
from sensorium.data.synthesis.speech import voice_sets

PARTS = ("train", "test")
COLUMNS = ["photo", "question", "answer"]
WAYS = ("typed", "typed", "spoken", "both", "both")
SPOKEN_COLUMNS = ["photo", "question", "speech", "answer"]


def read_easy_vqa(path: Path) -> RowStream:
    """Stream the rows of the part that `path` ends in.

    Raises:
        DataError: no such part.
        MissingExtraError: the package is not installed.
    """
    return RowStream(list(COLUMNS), _typed(_part(path)))


def read_spoken_easy_vqa(path: Path) -> RowStream:
    """Stream the rows of the part that `path` ends in; speech is kept in the folder before it.

    Raises:
        DataError: no such part.
        MissingExtraError: a package is not installed.
    """
    return RowStream(list(SPOKEN_COLUMNS), _spoken(_part(path), path.parent))


def _part(path: Path) -> str:
    if path.name not in PARTS:
        raise DataError(f"easy-VQA has no part '{path.name}'", advice="choose train or test")
    return path.name


def _typed(part: str) -> Iterator[Row | BadLine]:
    try:
        import easy_vqa
    except ImportError:
        advice = "pip install 'sensorium[demo]'"
        raise MissingExtraError("the package 'easy-vqa' is not installed", advice=advice) from None
    train = part == "train"
    questions, answers, image_ids = easy_vqa.get_train_questions() if train else easy_vqa.get_test_questions()
    paths = easy_vqa.get_train_image_paths() if train else easy_vqa.get_test_image_paths()
    for number, (question, answer, image) in enumerate(zip(questions, answers, image_ids, strict=True), start=1):
        yield Row(number, {"photo": paths[image], "question": question, "answer": answer})


def _spoken(part: str, folder: Path) -> Iterator[Row | BadLine]:
    train_voices, held_out_voices = voice_sets()
    voices = train_voices if part == "train" else held_out_voices
    for row in _typed(part):
        assert isinstance(row, Row)
        draw = _draw(part, row.line)
        cells = dict(row.cells, speech="")
        way = WAYS[draw % len(WAYS)] if part == "train" else "both"
        if way != "typed":
            voice = voices[draw // len(WAYS) % len(voices)]
            cells["speech"] = kept_speech(cells["question"], voice, folder)
        if way == "spoken":
            cells["question"] = ""
        yield Row(row.line, cells)


def _draw(part: str, line: int) -> int:
    """Return a number that looks random but is the same on every machine and in every run."""
    return int.from_bytes(hashlib.blake2b(f"{part}:{line}".encode(), digest_size=8).digest(), "little")
