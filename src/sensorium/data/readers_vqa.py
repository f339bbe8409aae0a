"""VQA v2: a file of questions and one of annotations -> rows of image, question and answers.

    vqa:v2_OpenEnded_mscoco_train2014_questions.json
    vqa:Questions/v2_OpenEnded_mscoco_val2014_questions.json?annotations=../a.json&images=/photos/val2014

Leaves: rows of `image` (path), `question`, `answer` (the commonest of the ten), `answers` (a JSON list of all,
for the metric `vqa_accuracy`), `answer_type`, `question_type`, `question_id`; one for each question.
The annotations lie beside the questions or in ../Annotations; the questions of a test part have none, and rows
without an answer.  A question without its annotation, or the other way round, is a BadLine.
Source: Goyal et al. 2017, "Making the V in VQA matter" (arXiv 1612.00837); https://visualqa.org/vqa_v2_format.html.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensorium.core.errors import DataError
from sensorium.data.beside import cell_prefix, file_beside, folder_beside
from sensorium.data.joining import Joined
from sensorium.data.json_stream import elements
from sensorium.data.readers import BadLine, Row, RowStream, row_of

logger = logging.getLogger(__name__)

COLUMNS = ["image", "question", "answer", "answers", "answer_type", "question_type", "question_id"]
_NAMELESS = "without id "
_SUBSET = re.compile(r"(train|val|test)(?:-dev|-std)?(\d{4})")

Answers = dict[str, str] | str
"""The cells of an annotation; or why it cannot be read."""


def read_vqa(path: Path, *, annotations: str = "", images: str = "") -> RowStream:
    """Stream the questions of a file, each with its answers.

    Args:
        annotations: the file of answers, relative to the folder of the questions.
        images: the folder of images, likewise.

    Raises:
        DataError: no images, or no annotations although it is no test part; while rows are read: a file is not
            JSON, cut short, or without its list.
    """
    path.stat()  # an absent file is the caller's OSError
    found = _SUBSET.search(path.name)
    subset = "".join(found.groups()) if found else ""
    name = path.name.replace("OpenEnded_", "").replace("MultipleChoice_", "").replace("questions", "annotations")
    answers = file_beside(
        path, annotations, [name, f"../Annotations/{name}", f"../annotations/{name}"], "annotations"
    )
    if answers is None and not subset.startswith("test"):
        raise DataError(f"its answers '{name}' are not there", where=str(path), advice="write ?annotations=FILE")
    places = [f"../{subset}", subset, f"../images/{subset}", f"images/{subset}", f"../Images/mscoco/{subset}"]
    folder = folder_beside(path, images, places if subset else ["../images", "images"], "images")
    rows = _rows(path, answers, _Images(folder, cell_prefix(folder, path), subset))
    return RowStream(list(COLUMNS), rows, () if answers is None else (answers,))


class _Images:
    """Name images by number, as COCO of 2014 does ('COCO_train2014_000000000009.jpg') or of 2017."""

    def __init__(self, folder: Path, prefix: str, subset: str) -> None:
        self._folder, self._prefix = folder, prefix
        self._patterns = [f"COCO_{subset}_{{:012d}}.jpg", "{:012d}.jpg"]
        self._is_known = False

    def cell(self, number: int) -> str:
        if not self._is_known:  # the first one that is there decides for all
            there = [p for p in self._patterns if (self._folder / p.format(number)).is_file()]
            self._patterns, self._is_known = there or self._patterns, bool(there)
        return self._prefix + self._patterns[0].format(number)


def _rows(path: Path, answers: Path | None, images: _Images) -> Iterator[Row | BadLine]:
    joined = Joined(_answers(answers)) if answers is not None else None
    last = 0
    for number, question in elements(path, "questions"):
        last = number
        fault = _fault(question)
        found: Answers | None = {} if joined is None else None
        if not fault and joined is not None:
            found = joined.pop(str(question["question_id"]))
        if fault or not isinstance(found, dict):
            fault = fault or (
                found if isinstance(found, str) else f"question {question['question_id']} has no annotation"
            )
            yield BadLine(number, fault)
            continue
        cells = dict.fromkeys(COLUMNS, "")
        cells |= {"image": images.cell(question["image_id"]), "question": question["question"], **found}
        yield row_of(number, cells | {"question_id": str(question["question_id"])})
    if joined is not None:
        for number, (key, record) in enumerate(joined.rest(), start=last + 1):
            if isinstance(record, str) and key.startswith(_NAMELESS):
                yield BadLine(number, record)
            else:
                yield BadLine(number, f"the annotation of question {key} has no question")


def _fault(question: Any) -> str:
    if not isinstance(question, dict):
        return "the question is no JSON object"
    for key, kind in (("question", str), ("image_id", int), ("question_id", int)):
        if not isinstance(question.get(key), kind):
            return f"the question has no '{key}'"
    return ""


def _answers(path: Path) -> Iterator[tuple[str, Answers]]:
    for number, annotation in elements(path, "annotations"):
        if not isinstance(annotation, dict) or "question_id" not in annotation:
            yield f"{_NAMELESS}{number}", f"record {number:,} of '{path.name}' has no 'question_id'"
        else:
            yield str(annotation["question_id"]), _cells(annotation, f"record {number:,} of '{path.name}'")


def _cells(annotation: dict[str, Any], place: str) -> Answers:
    given = annotation.get("answers")
    texts = [one.get("answer") for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        return f"{place} has no list of answers"
    return {
        "answer": str(annotation.get("multiple_choice_answer") or Counter(texts).most_common(1)[0][0]),
        "answers": json.dumps(texts, ensure_ascii=False),
        "answer_type": str(annotation.get("answer_type", "")),
        "question_type": str(annotation.get("question_type", "")),
    }
