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

from sensorium.core.config import Source
from sensorium.core.errors import UsageError
from sensorium.data.corpus import Corpus
from sensorium.data.quarantine import Quarantine
from sensorium.data.table import Table
from sensorium.evaluation.missing import PatternResult, evaluate_missing
from sensorium.evaluation.runner import Evaluation, evaluate
from sensorium.explain.maps import METHODS
from sensorium.explain.row import RowExplanation
from sensorium.explain.scorers import Explanation
from sensorium.explain.shapley import Contributions
from sensorium.model.saving import save_model
from sensorium.tasks.task import Prediction
from sensorium.training.progress import Progress
from sensorium.workflow.config import RunConfig, load_config, parse
from sensorium.workflow.explaining import explain_answer, mean_over, write_explanation
from sensorium.workflow.lessons import Lesson, write_lessons
from sensorium.workflow.predictor import Predictor
from sensorium.workflow.prepare import Part, build_corpus, open_parts
from sensorium.workflow.train import RunResult, train


class Sensorium:
    """A multimodal language model: configured, fitted, asked, saved."""

    def __init__(self, config: RunConfig | None = None, predictor: Predictor | None = None) -> None:
        self.config = config
        self.result: RunResult | None = None
        self._predictor = predictor

    @classmethod
    def from_config(cls, config: str | Path | Mapping[str, Any], folder: str | Path = ".") -> Self:
        """Configure from a TOML file, or from nested dicts whose relative paths start at `folder`.

        Raises:
            ConfigError: an unknown key or a value out of range, with its place.
        """
        if isinstance(config, Mapping):
            return cls(parse(config, Source(), folder=Path(folder), name="run"))
        return cls(load_config(Path(config)))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a saved model or a finished run.  Raises ModelError."""
        path = Path(path)
        config = load_config(path / "config.toml") if (path / "model").is_dir() else None
        return cls(config, Predictor.load(path))

    def fit(self, out: str | Path | None = None, *, resume: bool = False, progress: Progress | None = None) -> Self:
        """Train into a run folder (`out`, or the next `runs/NAME-NNN`); `self.result` says how it went."""
        if self.config is None:
            raise UsageError("a model loaded without its run has no config to fit by")
        self.result = train(self.config, out=None if out is None else Path(out), resume=resume, progress=progress)
        prepared = self.result.prepared
        self._predictor = Predictor(prepared.model, prepared.answers, self.result.decoding)
        return self

    @property
    def predictor(self) -> Predictor:
        """Return what answers.  Raises UsageError before `fit` or `load`."""
        if self._predictor is None:
            raise UsageError("not fitted yet", advice="call fit() first, or sensorium.load(path)")
        return self._predictor

    def predict(self, rows: Sequence[Mapping[str, Any]] | None = None, /, **inputs: Any) -> Any:
        """Answer one row given by keyword (returns a Prediction), or a list of rows (returns a list)."""
        if rows is not None:
            return self.predictor.predict(rows)
        return self.predictor.predict([inputs])[0]

    def generate(self, **inputs: Any) -> str:
        """Answer one row with text alone."""
        prediction: Prediction = self.predict(**inputs)
        return prediction.text

    def score(self, target: str, **inputs: Any) -> float:
        """Return log P(target | inputs) in nats, end of text included."""
        return self.predictor.score([inputs], [target])[0]

    def teach(self, *texts: str, source: str | None = None, weight: int = 1) -> Lesson:
        """Count texts with the training texts, at once; `save` keeps them.  See `Predictor.teach`."""
        return self.predictor.teach(*texts, source=source, weight=weight)

    def forget(self, *sources: str) -> None:
        """Take taught texts out again, exactly.  See `Predictor.forget`."""
        self.predictor.forget(*sources)

    @property
    def taught(self) -> tuple[Lesson, ...]:
        """Return what the model was taught, oldest first."""
        return self.predictor.lessons.lessons

    def explain(self, target: str | None = None, /, **inputs: Any) -> Explanation:
        """Say whose word each token is: of `target`, or of what the model answers to this row."""
        return self.predictor.explain([inputs], None if target is None else [target])[0]

    def explain_row(
        self,
        row: Mapping[str, Any],
        target: str | None = None,
        *,
        methods: Sequence[str] = tuple(METHODS),
        value: str = "log_p",
        out: str | Path | None = None,
    ) -> RowExplanation:
        """Say what each input gave, and which regions, spans and words: of `target`, or of what is answered.

        Args:
            methods: of maps: occlusion, integrated_gradients, rollout; none for inputs and scorers alone.
            value: what the inputs share out, "log_p" or "probability".
            out: a folder to write numbers and pictures to.
        """
        explanation = explain_answer(self.predictor, row, target, methods=methods, value=value)
        if out is not None:
            write_explanation(explanation, Path(out))
        return explanation

    def contributions(
        self, table: str | Path | None = None, *, value: str = "log_p", max_rows: int | None = None
    ) -> Contributions:
        """Say what each input gives to the targets of a table, or of the run's own test rows, on average."""
        return mean_over(self.predictor.model, self._judged_rows(table)[1], value=value, max_rows=max_rows)

    def evaluate(
        self, table: str | Path | None = None, *, max_rows: int | None = None, only: Sequence[str] | None = None
    ) -> Evaluation:
        """Judge on a table, or on the run's own test (else validation) rows.

        Args:
            only: hide every input but these.

        Raises:
            UsageError: a model loaded without its run, whose columns are therefore unknown.
        """
        config, corpus = self._judged_rows(table)
        return evaluate(
            self.predictor.model,
            self.predictor.task,
            corpus,
            answers=self.predictor.answers,
            decoding=self.predictor.decoding,
            batch_rows=config.evaluation.batch_rows,
            max_rows=max_rows or config.evaluation.max_rows,
            only=None if only is None else frozenset(only),
            vectors=config.word_vectors(),
        )

    def evaluate_missing(
        self, table: str | Path | None = None, *, max_rows: int | None = None
    ) -> list[PatternResult]:
        """Judge the same rows under each of the 2^m sets of inputs they may show, all of them first.

        Raises:
            UsageError: as `evaluate`; or the model has more inputs than can be tried in every way.
        """
        config, corpus = self._judged_rows(table)
        return evaluate_missing(
            self.predictor.model,
            self.predictor.task,
            corpus,
            answers=self.predictor.answers,
            decoding=self.predictor.decoding,
            batch_rows=config.evaluation.batch_rows,
            max_rows=max_rows or config.evaluation.max_rows,
            vectors=config.word_vectors(),
        )

    def _judged_rows(self, table: str | Path | None) -> tuple[RunConfig, Corpus]:
        """Return the config and the rows of a table, or the run's own test (else validation) rows."""
        if self.config is None:
            raise UsageError("a model loaded without its run cannot judge tables", advice="load the run folder")
        quarantine = Quarantine(self.config.data.max_bad_fraction)
        if table is None:
            parts = open_parts(self.config, quarantine)
            part = parts.get("test", parts["validation"])
        else:
            opened = Table.open(str(table), Path(), quarantine=quarantine)
            part = Part(opened, np.arange(len(opened)))
        return self.config, build_corpus(self.config, self.predictor.model, part, quarantine=quarantine)

    def save(self, folder: str | Path) -> Path:
        """Commit the model, and what it was taught, to `folder`; `load` reads it.  Raises DiskError."""
        card = "A model made by Sensorium.\n"
        save_model(self.predictor.model, Path(folder), answers=self.predictor.answers, card=card)
        if self.predictor.lessons:
            write_lessons(self.predictor.lessons, Path(folder))
        return Path(folder)
