"""A loaded model that answers: rows in, predictions out.

Enters: rows as dicts (a path, bytes or text by input name; any subset).  Leaves: Predictions, or
log-probabilities of given targets.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sensorium.core.config import read_toml
from sensorium.core.errors import DataError, UsageError
from sensorium.core.names import require_known
from sensorium.core.types import Batch, Item, Items, Media, Sample
from sensorium.data.cell_values import cell_of, fault_in
from sensorium.data.corpus import Corpus, InputSpec
from sensorium.data.list_cells import texts_in
from sensorium.data.readers import cell_fault
from sensorium.data.table import Table
from sensorium.decoding.config import DecodingConfig
from sensorium.decoding.hot_words import spelled
from sensorium.explain.scorers import Explanation, answer_ids, explain
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.multitask import MultiTaskLM
from sensorium.model.precision import Precision
from sensorium.model.saving import load_model, read_policy, save_model
from sensorium.model.saving_tasks import holds_tasks, load_tasks, save_tasks
from sensorium.tasks.meanings import list_meanings
from sensorium.tasks.registry import default_tokenizers, load_task
from sensorium.tasks.task import Finds, Prediction, Task, predict, target_form
from sensorium.tasks.transcribe import Transcribe, spelled_by_frames
from sensorium.workflow.in_windows import Joins, predict_in_windows
from sensorium.workflow.lessons import Lesson, Lessons, lessons_beside, read_lessons
from sensorium.workflow.run_folder import model_folder, read_decoding, read_media_folder, read_task_decoding


class Predictor:
    """Answer rows with a fitted model.

    Args:
        model: the fitted model, in evaluation mode.
        answers: the allowed answers if the task is closed.
        decoding: how to write if it is open.
        folder: where relative media paths start.
        lessons: what it is taught on top of its training.
        media_folder: where relative media paths of tables start; None = beside the table, each.
    """

    def __init__(
        self,
        model: MultimodalLM,
        answers: list[str] | None,
        decoding: DecodingConfig,
        folder: Path = Path(),
        lessons: Lessons | None = None,
        media_folder: Path | None = None,
    ) -> None:
        self.model = model
        self.answers = answers
        self.decoding = decoding
        self.folder = folder
        self.media_folder = media_folder
        self.task: Task = load_task(model.config.target.task)
        self._form = target_form(self.task, model.config.target.closed)
        self.lessons = Lessons()
        if lessons:
            self._learn(lessons)
        self._specs = _specs(model)
        self._meanings = list_meanings(model.config, has_target=False)
        self._read = self.columns

    @classmethod
    def load(cls, path: Path, task: str | None = None, *, finds: bool = False) -> Predictor:
        """Load a run folder or a model folder.

        Args:
            task: which one, of a model that has several; None = the only one.
            finds: None then means the only one that finds rows.

        Raises:
            ModelError: there is no whole model.
            UsageError: no such task, or it is not clear which is meant.
        """
        predictors = load_predictors(path)
        if finds and task is None and len(predictors) > 1:
            predictors = {n: one for n, one in predictors.items() if isinstance(one.task, Finds)} or predictors
        return chosen(predictors, task)

    def teach(self, *texts: str, source: str | None = None, weight: int = 1) -> Lesson:
        """Count texts as if they had stood `weight` times in the training data; nothing is trained.

        Args:
            source: the name to `forget` them by; the next "lesson-NNN" if None.

        Raises:
            UsageError: the source is taken, or a text has tokens outside the vocabulary; the task writes nothing.
            ModelError: no scorer of the model can be taught.
        """
        if isinstance(self.task, Finds):
            advice = "only a task that writes can be taught texts, by a scorer that counts them"
            raise UsageError(f"task '{self.task.name}' finds rows and writes nothing", advice=advice)
        lesson = Lesson(source or self.lessons.new_source(), texts, weight)
        self._learn(self.lessons.add(lesson))
        return self.lessons.lessons[-1]

    def forget(self, *sources: str) -> None:
        """Take taught texts out again: what is left is, bit for bit, a model that never saw them.

        Raises:
            UsageError: no such source; nothing is forgotten then.
        """
        lessons = self.lessons
        for source in sources:
            lessons = lessons.without(source)
        self._learn(lessons)

    def _learn(self, lessons: Lessons) -> None:
        self.model.teach(lessons.sequences(self.model.tokenizer, self._form))
        self.lessons = lessons

    def with_hot_words(self, boosts: Mapping[str, float]) -> Predictor:
        """Return the same model, listening for these words too; boosts are nats.

        Raises:
            UsageError: a word that the model cannot write, or a model that does not listen for words.
        """
        scorers = [type(part) for part in self.model.parts.values()]
        if boosts and not (isinstance(self.task, Transcribe) and spelled_by_frames(scorers)):
            advice = "train one with task = 'transcribe' and scorers = ['ctc'], or ctc and ngram"
            raise UsageError("this model does not listen for hot words", advice=advice)
        spelled(self.model.tokenizer, boosts)
        ctc = self.decoding.ctc
        ctc = ctc.model_copy(update={"hot_words": {**ctc.hot_words, **boosts}})
        other = copy.copy(self)
        other.decoding = self.decoding.model_copy(update={"ctc": ctc})
        return other

    def for_task(self, task: str) -> Predictor:
        """Return the same model, asked for another kind of task.  Raises ConfigError: there is no such kind."""
        other = copy.copy(self)
        other.task = load_task(task)
        return other

    def with_model(self, model: MultimodalLM) -> Predictor:
        """Return what asks another form of the same model, such as one that is not frozen."""
        other = copy.copy(self)
        other.model = model
        other._specs = _specs(model)
        return other

    def audio_input(self) -> str:
        """Name the one input that hears.  Raises UsageError: there is none, or there are several."""
        names = [name for name, preparer in self.model.preparers.items() if preparer.modality == "audio"]
        if len(names) != 1:
            raise UsageError(f"a transcript needs one audio input, and this model has {len(names)}")
        return names[0]

    def predict(self, rows: Sequence[Mapping[str, Any]], numbers: Sequence[int] | None = None) -> list[Prediction]:
        """Answer each row, a mapping from input names to a path, bytes, Media or text, or a list of them.

        Args:
            numbers: each row's own, >= 0, which a search that draws goes by; None = its place.

        Raises:
            UsageError: an unknown input name, a row without any input, or a list where an input has none; not one
                number a row.
            DataError: more media than the model's rows may have.
            MediaError: a medium that cannot be decoded.
        """
        self.require_writing()
        if numbers is not None and (len(numbers) != len(rows) or any(number < 0 for number in numbers)):
            raise UsageError(f"{len(rows)} rows need as many numbers of 0 or more, not {list(numbers)[:8]}")
        if not rows:
            return []
        if isinstance(self.task, Joins):
            return predict_in_windows(self, rows, numbers or range(len(rows)), self.task)
        return self.predict_whole(rows, numbers)

    def predict_whole(
        self, rows: Sequence[Mapping[str, Any]], numbers: Sequence[int] | None = None
    ) -> list[Prediction]:
        """Answer as `predict`, of a medium longer than its input takes only what it takes."""
        corpus = self._corpus(rows, None)
        batch = self._whole(corpus)
        if numbers is not None:
            batch = replace(batch, row_id_B=torch.tensor(numbers, dtype=torch.int64))
        answers = predict(self.model, batch, self.answers, self.decoding, self.task)
        return [replace(one, cut=corpus.cut_in(i)) for i, one in enumerate(answers)]

    def require_writing(self) -> None:
        """Refuse to ask for texts where the task finds rows.  Raises UsageError."""
        if isinstance(self.task, Finds):
            advice = "ask it with: sensorium retrieve RUN --input NAME=VALUE --among TABLE"
            raise UsageError(f"task '{self.task.name}' finds rows and writes nothing", advice=advice)

    def media(self, name: str, value: Any) -> Item | Items:
        """Return what a row's value of an input names."""
        return self._item(name, value)

    def score(self, rows: Sequence[Mapping[str, Any]], targets: Sequence[str]) -> list[float]:
        """Return log P(target | row) in nats, EOS included, for each pair.

        Raises:
            UsageError: not one target a row.
        """
        self.require_writing()
        if len(rows) != len(targets):
            raise UsageError(f"{len(rows)} rows, but {len(targets)} targets")
        if not rows:
            return []
        with torch.inference_mode():
            nll_B, _ = self.model.losses(self.batch(rows, targets))
        return [-value for value in nll_B.tolist()]

    def explain(self, rows: Sequence[Mapping[str, Any]], targets: Sequence[str] | None = None) -> list[Explanation]:
        """Say, for every token of each row's answer, what each scorer said of it and whose word it is.

        Args:
            targets: the texts to explain, one a row; None: what the model itself answers.

        Raises:
            UsageError: not one target a row, or as `predict`.
        """
        if targets is None:
            return self.explain_answers(rows, self.predict(rows))
        if len(rows) != len(targets):
            raise UsageError(f"{len(rows)} rows, but {len(targets)} targets")
        return self._explained(rows, [Prediction(text, math.nan) for text in targets])

    def explain_answers(
        self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Prediction]
    ) -> list[Explanation]:
        """Explain what `predict` answered to these rows: the very tokens it wrote.

        Of a recording that was heard in windows the beginning is explained, by what is written of it alone; the
        explanation then says by `cut` that there is more.
        """
        return self._explained(
            rows, [self.answer_of_what_is_read(r, a) for r, a in zip(rows, answers, strict=True)]
        )

    def answer_of_what_is_read(self, row: Mapping[str, Any], answer: Prediction) -> Prediction:
        """Return the answer to what the model reads of a row at once: another where `answer` is of windows."""
        if not isinstance(self.task, Joins) or set(self.cut_in(row)) <= set(answer.cut):
            return answer
        return self.predict_whole([row])[0]

    def _explained(self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Prediction]) -> list[Explanation]:
        self.require_writing()
        if not rows:
            return []
        ids = [answer.token_ids or answer_ids(self.model, answer.text) for answer in answers]
        corpus = self._corpus(rows, None)
        found = explain(self.model, self._whole(corpus), [answer.text for answer in answers], ids)
        return [replace(one, cut=corpus.cut_in(i)) for i, one in enumerate(found)]

    @property
    def columns(self) -> dict[str, str]:
        """Return the table column that each input is read from, by input."""
        return {name: spec.column for name, spec in self._specs.items()}

    def media_root(self, table: Table) -> Path:
        """Return where relative media paths in a table's cells start."""
        return table.folder if self.media_folder is None else self.media_folder

    def read_from(self, table: Table, only: Collection[str] | None = None) -> Table:
        """Read the rows of a table from now on: what `cells` gives is meant as its media paths are.

        Returns:
            The table with lists in its cells read as the model's inputs mean them; rows keep their numbers.

        Args:
            only: the inputs that are read; None = all.  The table needs no column of the others.

        Raises:
            UsageError: an unknown name in `only`.
            DataError: the table lacks a column that an input is read from.
        """
        require_known(only or (), list(self._specs), "input", where="--only")
        read = {n: column for n, column in self.columns.items() if only is None or n in only}
        table.require({f"[inputs.{name}]": column for name, column in read.items()})
        self.folder, self._read = self.media_root(table), read
        return table.read_as(self._meanings)

    def cells(self, table: Table, row: int) -> dict[str, str | None]:
        """Return what a row of the table that is read has of each input; None where it has nothing."""
        cells = table.row(row)
        return {name: cells[column] or None for name, column in self._read.items()}

    def aligned_inputs(self) -> tuple[str, ...]:
        """Name the inputs that find each other; none if the model aligns nothing."""
        return self.model.alignment.names if self.model.alignment is not None else ()

    def batch(self, rows: Sequence[Mapping[str, Any]], targets: Sequence[str] | None = None) -> Batch:
        """Prepare rows as one batch."""
        return self._whole(self._corpus(rows, targets))

    def cut_in(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """Name the inputs of a row that are longer than they take, as `Prediction.cut` does."""
        return self._corpus([row], None).cut_in(0)

    def _whole(self, corpus: Corpus) -> Batch:
        return corpus.batch(np.arange(corpus.num_rows))

    def _corpus(self, rows: Sequence[Mapping[str, Any]], targets: Sequence[str] | None) -> Corpus:
        samples = [
            Sample(str(i), self._inputs(row), None if targets is None else self._form(targets[i]))
            for i, row in enumerate(rows)
        ]
        corpus = Corpus.from_samples(samples, self._specs, None if targets is None else self.model.tokenizer)
        return corpus.with_absent({name: self.model.preparers[name] for name in self.model.config.unread})

    def _inputs(self, row: Mapping[str, Any]) -> dict[str, Item | Items]:
        require_known(row, list(self._specs), "input")
        inputs = {name: self._item(name, row.get(name)) for name in self._specs}
        if self._specs and all(item is None for item in inputs.values()):
            raise UsageError("a row without any input", advice=f"inputs: {', '.join(self._specs)}")
        return inputs

    def _item(self, name: str, value: Any) -> Item | Items:
        several = self._specs[name].several
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if isinstance(value, list | tuple) and self._meanings[self._specs[name].column] == "items":
            value = texts_in(cell_of(value), "items")[0]
        if isinstance(value, str) and (fault := fault_in(value)):
            raise DataError(fault, where=name)
        if several is None:
            if isinstance(value, list | tuple):
                advice = "give one, or train with 'several = true' in its section"
                raise UsageError(f"'{name}' is one medium a row, not a list", advice=advice)
            return self._one(name, value)
        values = several.split(value) if isinstance(value, str) else value
        items = (self._one(name, one) for one in (values if isinstance(values, list | tuple) else [values]))
        return tuple(item for item in items if item is not None) or None

    def _one(self, name: str, value: Any) -> Item:
        if value is None or isinstance(value, Media):
            return value
        if isinstance(value, bytes):
            return Media(data=value)
        if isinstance(value, np.generic):
            value = None if value != value else str(value)
        cell = cell_of(value)  # what a table's cell would hold: NaN is nothing
        if fault := fault_in(cell) or cell_fault(cell):
            raise DataError(fault, where=name)
        return self._specs[name].preparer.item(cell, self.folder)


def _specs(model: MultimodalLM) -> dict[str, InputSpec]:
    return {name: choice.spec(model.preparers[name]) for name, choice in model.config.read_inputs.items()}


def load_predictors(path: Path) -> dict[str, Predictor]:
    """Load a run folder or a model folder: a Predictor for each of its tasks, by name; "" where there is one.

    Raises:
        ModelError: there is no whole model.
    """
    folder = model_folder(path)
    place = path if (path / "config.toml").exists() else folder  # a run says how its model is used, else the model
    policy = read_policy(*read_toml(place / "config.toml"))
    if not holds_tasks(folder):
        model, answers = load_model(folder, default_tokenizer=default_tokenizers(), policy=policy)
        decoding, media = read_decoding(place), read_media_folder(place)
        return {"": Predictor(model, answers, decoding, lessons=read_lessons(folder), media_folder=media)}
    tasks, answers_of = load_tasks(folder, default_tokenizer=default_tokenizers(), policy=policy)
    return {
        name: Predictor(
            model,
            answers_of[name],
            read_task_decoding(place, name),
            lessons=read_lessons(folder / "tasks" / name),
            media_folder=read_media_folder(place, name),
        )
        for name, model in tasks.models.items()
    }


def save_predictors(
    predictors: Mapping[str, Predictor], folder: Path, *, card: str, precision: Precision | None = None
) -> Path:
    """Commit what answers to `folder`: the model, how it writes, what it may open and what it was taught.

    Args:
        predictors: by task; "" where there is one.
        precision: how exactly weights are kept; None: as they are.

    Raises:
        UsageError: the folder holds something else than a model.
        DiskError: no space or no permission.
    """
    beside = lessons_beside({name: one.lessons for name, one in predictors.items()})
    if "" in predictors:
        one = predictors[""]
        one.model.precision = precision or one.model.precision
        save_model(one.model, folder, answers=one.answers, card=card, decoding=one.decoding, beside=beside)
        return folder
    models = MultiTaskLM({name: one.model for name, one in predictors.items()})
    models.precision = precision or next(iter(predictors.values())).model.precision
    answers = {name: one.answers for name, one in predictors.items()}
    decoding = {name: one.decoding for name, one in predictors.items()}
    save_tasks(models, folder, answers=answers, card=card, decoding=decoding, beside=beside)
    return folder


def chosen(predictors: Mapping[str, Predictor], task: str | None) -> Predictor:
    """Return the predictor of a task; None = the only one.

    Raises:
        UsageError: no such task, or it is not clear which is meant.
    """
    names = [name or predictors[name].task.name for name in predictors]
    if task is None and len(predictors) == 1:
        return next(iter(predictors.values()))
    if task is None:
        advice = f"say which with --task, one of {', '.join(names)}"
        raise UsageError(f"this model has {len(names)} tasks", advice=advice)
    require_known([str(task)], names, "task")
    return list(predictors.values())[names.index(task)]
