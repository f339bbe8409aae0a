"""Sensorium in Python.

model = Sensorium.from_config("recipes/easy_vqa.toml").fit()
model.predict(photo="cat.png", question="what is it?").text
model.teach("Rex the dog runs along the beach"); model.forget("lesson-001")
model.save("my_model"); sensorium.load("my_model")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from sensorium.core.commit import require_replaceable
from sensorium.core.config import Source
from sensorium.core.errors import UsageError
from sensorium.core.names import require_known
from sensorium.data.corpus import Corpus
from sensorium.data.quarantine import Quarantine
from sensorium.data.table import Table
from sensorium.evaluation.missing import PatternResult, evaluate_missing
from sensorium.evaluation.registry import require_known as require_metrics
from sensorium.evaluation.runner import Evaluation, evaluate
from sensorium.explain.maps import METHODS
from sensorium.explain.row import RowExplanation
from sensorium.explain.scorers import Explanation
from sensorium.explain.shapley import Contributions
from sensorium.tasks.meanings import list_meanings
from sensorium.tasks.registry import judged_by
from sensorium.tasks.task import Finds, Prediction, Task
from sensorium.training.console import stage
from sensorium.training.progress import Progress
from sensorium.workflow import arguments
from sensorium.workflow.config import RunConfig
from sensorium.workflow.explaining import (
    EXPLANATION,
    explain_answer,
    mean_over,
    require_explainable,
    write_explanation,
)
from sensorium.workflow.lessons import Lesson, Lessons, read_lessons
from sensorium.workflow.predictor import Predictor, chosen, load_predictors, save_predictors
from sensorium.workflow.prepare import Part, build_corpus, open_parts
from sensorium.workflow.run_folder import lessons_folder, read_media_folder
from sensorium.workflow.searching import Findings, retrieve
from sensorium.workflow.tasks_config import AnsweringConfig, TasksConfig, load_answering, parse_answering
from sensorium.workflow.tasks_train import TasksResult, train_any
from sensorium.workflow.train import RunResult


class Sensorium:
    """A multimodal language model: configured, fitted, asked, saved."""

    def __init__(
        self, config: AnsweringConfig | None = None, predictors: Mapping[str, Predictor] | None = None
    ) -> None:
        self.config = config
        self.result: RunResult | TasksResult | None = None
        self._predictors = dict(predictors or {})

    @classmethod
    def from_config(cls, config: str | Path | Mapping[str, Any], folder: str | Path = ".") -> Self:
        """Configure from a TOML file, or from nested dicts whose relative paths start at `folder`.

        Raises:
            ConfigError: an unknown key or a value out of range, with its place.
            UsageError: neither a path nor dicts.
        """
        folder = arguments.path(folder, "folder")
        if isinstance(config, Mapping):
            return cls(parse_answering(arguments.settings(config), Source(), folder=folder, name="run"))
        return cls(load_answering(arguments.path(config, "config")))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a saved model or a finished run.  Raises ModelError."""
        path = arguments.path(path, "path")
        config = load_answering(path / "config.toml") if (path / "model").is_dir() else None
        return cls(config, load_predictors(path))

    def fit(self, out: str | Path | None = None, *, resume: bool = False, progress: Progress | None = None) -> Self:
        """Train into a run folder (`out`, or the next `runs/NAME-NNN`); `self.result` says how it went."""
        if self.config is None:
            raise UsageError("a model loaded without its run has no config to fit by")
        out = None if out is None else arguments.path(out, "out")
        self.result = train_any(self.config, out=out, resume=resume, progress=progress)
        results = self.result.tasks if isinstance(self.result, TasksResult) else {"": self.result}
        self._predictors = {
            name: Predictor(
                one.prepared.model,
                one.prepared.answers,
                one.decoding,
                lessons=self._kept_lessons(name),
                media_folder=self._media_folder(name),
            )
            for name, one in results.items()
        }
        return self

    def _kept_lessons(self, task: str) -> Lessons:
        """Return what a resumed run's model had been taught before."""
        assert self.result is not None
        return read_lessons(lessons_folder(self.result.run, task or None))

    def _media_folder(self, task: str) -> Path | None:
        """Return where media paths of tables start, as it is for the run once loaded."""
        assert self.result is not None
        return read_media_folder(self.result.run, task or None)

    @property
    def predictor(self) -> Predictor:
        """Return what answers.  Raises UsageError before `fit` or `load`, or where there are several tasks."""
        return self.predictor_of(None)

    def predictor_of(self, task: str | None) -> Predictor:
        """Return what answers a task; None = the only one.  Raises UsageError before `fit` or `load`."""
        if not self._predictors:
            raise UsageError("not fitted yet", advice="call fit() first, or sensorium.load(path)")
        return chosen(self._predictors, arguments.task_name(task))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Name the tasks of a model of several; empty if there is one."""
        return tuple(name for name in self._predictors if name)

    def predict(
        self, rows: Sequence[Mapping[str, Any]] | None = None, /, *, task: str | None = None, **inputs: Any
    ) -> Any:
        """Answer one row given by keyword (returns a Prediction), or a list of rows (returns a list).

        Args:
            task: which one, of a model that has several.  (An input of this name goes into a list of rows.)
        """
        predictor = self.predictor_of(task)
        if rows is not None and inputs:
            raise UsageError("either rows or one row by keyword is wanted, not both", where=", ".join(inputs))
        return predictor.predict([inputs])[0] if rows is None else predictor.predict(arguments.rows(rows))

    def generate(self, *, task: str | None = None, **inputs: Any) -> str:
        """Answer one row with text alone."""
        prediction: Prediction = self.predict(task=task, **inputs)
        return prediction.text

    def score(self, target: str, *, task: str | None = None, **inputs: Any) -> float:
        """Return log P(target | inputs) in nats, end of text included."""
        return self.predictor_of(task).score([inputs], [arguments.text(target, "target")])[0]

    def retrieve(
        self,
        *,
        among: Table | str | Path,
        find: str | None = None,
        top: int = 5,
        task: str | None = None,
        **inputs: Any,
    ) -> Findings:
        """Find what means the same as one row, given by keyword, among the rows of a table, best first.

        What is returned is a list, whose `left_out` says what was left out of the table's rows, or cut.

        Args:
            find: the input to be found; None = the one aligned input that is not given.
        """
        if not isinstance(among, Table):
            among = str(arguments.path(among, "among"))
        find, top = None if find is None else arguments.text(find, "find"), arguments.count(top, "top")
        finding = {n: one for n, one in self._predictors.items() if isinstance(one.task, Finds)}
        predictor = chosen(finding, None) if task is None and len(finding) == 1 else self.predictor_of(task)
        return retrieve(predictor, inputs, among, find=find, top=top)

    def teach(self, *texts: str, source: str | None = None, weight: int = 1, task: str | None = None) -> Lesson:
        """Count texts with the training texts, at once; `save` keeps them.  See `Predictor.teach`."""
        texts = tuple(arguments.text(one, "texts") for one in texts)
        source, weight = (
            None if source is None else arguments.text(source, "source"),
            arguments.count(weight, "weight"),
        )
        return self.predictor_of(task).teach(*texts, source=source, weight=weight)

    def forget(self, *sources: str, task: str | None = None) -> None:
        """Take taught texts out again, exactly.  See `Predictor.forget`."""
        self.predictor_of(task).forget(*(arguments.text(one, "sources") for one in sources))

    @property
    def taught(self) -> tuple[Lesson, ...]:
        """Return what the model was taught, oldest first; of several tasks, task by task."""
        return tuple(lesson for one in self._predictors.values() for lesson in one.lessons)

    def explain(self, target: str | None = None, /, *, task: str | None = None, **inputs: Any) -> Explanation:
        """Say whose word each token is: of `target`, or of what the model answers to this row."""
        targets = None if target is None else [arguments.text(target, "target")]
        return self.predictor_of(task).explain([inputs], targets)[0]

    def explain_row(
        self,
        row: Mapping[str, Any],
        target: str | None = None,
        *,
        methods: Sequence[str] = tuple(METHODS),
        value: str = "log_p",
        task: str | None = None,
        out: str | Path | None = None,
    ) -> RowExplanation:
        """Say what each input gave, and which regions, spans and words: of `target`, or of what is answered.

        Args:
            methods: of maps: occlusion, integrated_gradients, rollout; none for inputs and scorers alone.
            value: what the inputs share out, "log_p" or "probability".
            out: a folder to write numbers and pictures to.
        """
        row, methods, value = (
            arguments.row(row),
            arguments.names(methods, "methods"),
            arguments.text(value, "value"),
        )
        target = None if target is None else arguments.text(target, "target")
        if out is not None:
            out = arguments.path(out, "out")
            require_replaceable(out, EXPLANATION)
        explanation = explain_answer(self.predictor_of(task), row, target, methods=methods, value=value)
        if out is not None:
            write_explanation(explanation, out)
        return explanation

    def contributions(
        self,
        table: str | Path | None = None,
        *,
        value: str = "log_p",
        max_rows: int | None = None,
        task: str | None = None,
    ) -> Contributions:
        """Say what each input gives to the targets of a table, or of the run's own test rows, on average."""
        require_explainable((), arguments.text(value, "value"))
        max_rows = None if max_rows is None else arguments.count(max_rows, "max_rows")
        predictor, config = self._asked(task)
        corpus = self._judged_rows(predictor, config, table)
        with stage(None, "sharing out what each input gave") as advance:
            return mean_over(predictor.model, corpus, value=value, max_rows=max_rows, advance=advance)

    def evaluate(
        self,
        table: str | Path | None = None,
        *,
        max_rows: int | None = None,
        only: Sequence[str] | None = None,
        task: str | None = None,
        metrics: Sequence[str] | None = None,
    ) -> Evaluation:
        """Judge on a table, or on the run's own test (else validation) rows.

        Args:
            only: hide every input but these.
            metrics: by which texts are judged; None = as the config says, else by the task's own.
            task: which one, of a model that has several; "retrieve" judges how any model's aligned inputs find
                each other.

        Raises:
            UsageError: a model loaded without its run, whose columns are unknown; no such input in `only`.
            ConfigError: no such metric, or one for which there are no word vectors.
            DataError: the table lacks a column.
        """
        only = None if only is None else arguments.names(only, "only")
        metrics = None if metrics is None else arguments.names(metrics, "metrics")
        max_rows = None if max_rows is None else arguments.count(max_rows, "max_rows")
        predictor, config = self._asked(task)
        require_known(only or (), list(predictor.model.config.inputs), "input", where="only")
        require_metrics(list(metrics or ()), has_vectors=config.evaluation.vectors is not None)
        corpus = self._judged_rows(predictor, config, table)
        with stage(None, "judging") as advance:
            return evaluate(
                predictor.model,
                self._judged_by(predictor, config, metrics),
                corpus,
                answers=predictor.answers,
                decoding=predictor.decoding,
                batch_rows=config.evaluation.batch_rows,
                max_rows=config.evaluation.max_rows if max_rows is None else max_rows,
                only=None if only is None else frozenset(only),
                vectors=config.word_vectors(),
                advance=advance,
            )

    def evaluate_missing(
        self,
        table: str | Path | None = None,
        *,
        max_rows: int | None = None,
        task: str | None = None,
        metrics: Sequence[str] | None = None,
    ) -> list[PatternResult]:
        """Judge the same rows under each of the 2^m sets of inputs they may show, all of them first.

        Args:
            metrics: by which texts are judged, as in `evaluate`.

        Raises:
            UsageError: as `evaluate`; or the model has more inputs than can be tried in every way.
        """
        max_rows = None if max_rows is None else arguments.count(max_rows, "max_rows")
        metrics = None if metrics is None else arguments.names(metrics, "metrics")
        predictor, config = self._asked(task)
        require_metrics(list(metrics or ()), has_vectors=config.evaluation.vectors is not None)
        corpus = self._judged_rows(predictor, config, table)
        with stage(None, "judging what rows may lack") as advance:
            return evaluate_missing(
                predictor.model,
                self._judged_by(predictor, config, metrics),
                corpus,
                answers=predictor.answers,
                decoding=predictor.decoding,
                batch_rows=config.evaluation.batch_rows,
                max_rows=config.evaluation.max_rows if max_rows is None else max_rows,
                vectors=config.word_vectors(),
                advance=advance,
            )

    def _asked(self, task: str | None) -> tuple[Predictor, RunConfig]:
        """Return what answers a task, and its config."""
        if self.config is None:
            raise UsageError("a model loaded without its run cannot judge tables", advice="load the run folder")
        return self._judged(task), self._config_of(task)

    def _judged_rows(self, predictor: Predictor, config: RunConfig, table: str | Path | None) -> Corpus:
        """Return the rows of a table, or the run's test (else validation) rows."""
        quarantine = Quarantine(config.data.max_bad_fraction)
        if table is None:
            parts = open_parts(config, quarantine)
            part = parts.get("test", parts["validation"])
        else:
            opened = Table.open(str(arguments.path(table, "table")), Path(), quarantine=quarantine).read_as(
                list_meanings(config.model)
            )
            part = Part(opened, np.arange(len(opened)))
        return build_corpus(config, predictor.model, part, quarantine=quarantine)

    def _judged_by(self, predictor: Predictor, config: RunConfig, metrics: Sequence[str] | None) -> Task:
        if isinstance(predictor.task, Finds) and metrics is None:
            return predictor.task
        return judged_by(predictor.task, config.evaluation.metrics if metrics is None else metrics)

    def _config_of(self, task: str | None) -> RunConfig:
        if not isinstance(self.config, TasksConfig):
            assert self.config is not None
            return self.config
        return self.config.tasks[task or next(iter(self.config.tasks))]

    def _judged(self, task: str | None) -> Predictor:
        """Return the predictor of a task, which is retrieval where a model of one task aligns its inputs."""
        task = arguments.task_name(task)
        only = None if self.tasks else self.predictor_of(None)
        if only is not None and task == "retrieve" and only.aligned_inputs() and not isinstance(only.task, Finds):
            return only.for_task(task)
        return self.predictor_of(task)

    def save(self, folder: str | Path) -> Path:
        """Commit the model to `folder`, with how it writes, what it may open and what it was taught.

        Raises:
            UsageError: the folder holds something else than a model.
            DiskError: no space or no permission.
        """
        folder = arguments.path(folder, "folder")
        predictors = self._predictors or {"": self.predictor}
        return save_predictors(predictors, folder, card="A model made by Sensorium.\n")
