"""A whole run as one config: where the rows are, what the model is, how it is fitted and judged.

Enters: a TOML file or nested dicts.  Leaves: `RunConfig`; every key has been checked before any data
is read.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from sensorium.core.config import Section, Source, override, parse_toml, read_toml, unknown_key
from sensorium.core.errors import ConfigError
from sensorium.core.file_state import file_state
from sensorium.data import readers
from sensorium.data.word_vectors import WordVectors
from sensorium.decoding.config import DecodingConfig
from sensorium.evaluation.registry import require_known
from sensorium.media.policy import MediaPolicy
from sensorium.model import config as model_config
from sensorium.model.config import ConditionerConfig, ModelConfig
from sensorium.model.taking import absolute_spec, is_run
from sensorium.tasks.registry import default_tokenizers
from sensorium.training.config import TrainingConfig
from sensorium.workflow.config_names import require_names
from sensorium.workflow.unread_settings import require_read


class DataConfig(Section):
    """`[data]`: the tables.  Paths are relative to the config file."""

    train: str
    validation: str | None = None
    """Rows for early stopping and for fitting mixture weights; None holds some of `train` back."""
    test: str | None = None
    validation_fraction: float = Field(0.1, gt=0.0, lt=1.0)
    train_fraction: float = Field(1.0, gt=0.0, le=1.0)
    """Share of the training rows that is used, for learning curves: smaller shares lie within larger ones."""
    split_column: str | None = None
    """A column whose values 'train', 'validation' (or 'dev') and 'test' say where each row belongs."""
    folder: str | None = None
    """Where media paths start; None: the folder of the table they stand in."""
    cache: str | None = ".sensorium_cache"
    """Where decoded media are kept (in ~/.cache/sensorium if that cannot be written); '' keeps them in memory."""
    max_bad_fraction: float = Field(0.01, ge=0.0, le=1.0)


class EvaluationConfig(Section):
    """`[evaluation]`: what is measured beside the model."""

    baselines: bool = True
    baseline_budget: float = Field(0.15, gt=0.0, le=1.0)
    """Share of the run's own training budget that each single-input baseline gets."""
    baseline_inputs: tuple[str, ...] | None = None
    """The inputs that are tried alone; None tries each."""
    report: bool = True
    """Write report.html into the run folder."""
    batch_rows: int = Field(512, ge=1)
    max_rows: int | None = Field(None, ge=1)
    vectors: str | None = None
    """A file of word vectors, relative to the config: what is written is judged by its similarity too."""
    metrics: tuple[str, ...] | None = Field(None, min_length=1)
    """By what texts are judged, the main one first; None: the task's own.  "bleu4@13a" splits words that way."""

    @model_validator(mode="after")
    def _are_known(self) -> Self:
        try:
            require_known(list(self.metrics or ()), has_vectors=self.vectors is not None)
        except ConfigError as error:
            raise ValueError(f"{error}") from None
        if len(set(self.metrics or ())) != len(self.metrics or ()):
            raise ValueError("name each metric once")
        return self


class RunSection(Section):
    """`[run]`: the run's name; folders are `runs/NAME-NNN`."""

    name: str | None = None

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str | None) -> str | None:
        if name is not None and name != as_folder_name(name):
            raise ValueError(
                "a run's name is one folder's: no / or \\, no blank or dot around it, 250 bytes at most"
            )
        return name


def as_folder_name(text: str) -> str:
    """Return what a run is called after a file of any name: `[run] name` takes nothing but such names.

    A run's own config says its name, so the default must be one that may be said.
    """
    kept = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in text).strip(" .")
    return kept.encode("utf-8")[:_NAME_BYTES].decode("utf-8", "ignore").strip(" .") or "run"


_NAME_BYTES = 250
"""A file system has room for 255, and runs are numbered."""


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig:
    """Everything a run without a target needs, validated; a run with one needs a little more."""

    name: str
    folder: Path
    data: DataConfig
    model: ConditionerConfig
    training: TrainingConfig
    evaluation: EvaluationConfig
    media: MediaPolicy

    def dump(self) -> dict[str, Any]:
        """Return nested plain dicts that are read back to an equal config; paths are absolute."""
        data = self.data.model_dump(exclude_none=True)
        for key in ("train", "validation", "test", "folder", "cache"):
            if data.get(key):
                data[key] = self.resolve(data[key])
        evaluation = self.evaluation.model_dump(mode="json", exclude_none=True)
        if self.evaluation.vectors is not None:
            evaluation["vectors"] = str((self.folder / self.evaluation.vectors).expanduser().resolve())
        training = self.training.model_dump(mode="json", exclude_none=True)
        if is_run(self.training.teacher):
            training["teacher"] = absolute_spec(str(self.training.teacher), self.folder)
        return {
            "run": {"name": self.name},
            "data": data,
            **self.model.dump(),
            "training": training,
            "evaluation": evaluation,
            "media": self.media.model_dump(mode="json", exclude_none=True),
        }

    def resolve(self, spec: str) -> str:
        """Make a table spec ('photos.csv', 'folder:shots') absolute, relative to the config's folder."""
        return readers.absolute_spec(spec, self.folder)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class RunConfig(PretrainingConfig):
    """Everything a run needs, validated."""

    model: ModelConfig
    decoding: DecodingConfig

    def dump(self) -> dict[str, Any]:
        """Return nested plain dicts that `parse` reads back; paths are absolute."""
        return super().dump() | {"decoding": self.decoding.model_dump(mode="json", exclude_none=True)}

    def word_vectors(self) -> WordVectors | None:
        """Read the vectors that texts are judged with, if any are named.  Raises DataError."""
        named = self.evaluation.vectors
        if named is None:
            return None
        path = (self.folder / named).expanduser()
        return _vectors(path, tuple(file_state(path.stat())) if path.is_file() else ())


@functools.lru_cache(maxsize=1)
def _vectors(path: Path, _state: tuple[int, ...]) -> WordVectors:
    """Read a file of vectors once while it is as it was: the model, each baseline and the report judge with it."""
    return WordVectors.read(path)


KINDS_OF_FILES = ("hf", "keras", "llama")
"""What "KIND:SOURCE" may name a folder or file by."""

_SECTIONS: dict[str, type[Section]] = {
    "run": RunSection,
    "data": DataConfig,
    "training": TrainingConfig,
    "decoding": DecodingConfig,
    "evaluation": EvaluationConfig,
    "media": MediaPolicy,
}


def load_config(path: Path, assignments: Sequence[str] = ()) -> RunConfig:
    """Read and validate a config file, after applying `--set` assignments.

    Raises:
        ConfigError: with file, line and column, and the nearest known key or name.
    """
    values, source = read_toml(path)
    return parse(override(values, assignments), source, folder=path.parent, name=path.stem)


def config_from_text(text: str, folder: Path, name: str = "config") -> RunConfig:
    """Validate a config given as TOML text."""
    values, source = parse_toml(text, name)
    return parse(values, source, folder=folder, name=name)


def parse(
    values: Mapping[str, Any], source: Source, *, folder: Path, name: str, is_only_task: bool = True
) -> RunConfig:
    """Validate nested dicts; `folder` is where relative paths start, `name` the run's default name.

    Raises:
        ConfigError: with file, line and column; a setting that nothing would read, too.
    """
    sections = _sections(values, source, folder)
    if model_config.is_without_target(values):
        advice = 'add a [target], or begin from the finished run: encoder = "run:FOLDER#INPUT"'
        what = "has objectives and no [target], so it pretrains, and nothing is written"
        raise ConfigError(what, where=source.name, advice=advice)
    values = with_absolute_paths(values, folder)
    model = model_config.parse(values, source, default_tokenizer=default_tokenizers())
    _require_known_folds(model, sections["training"], source)
    decoding, judged = sections["decoding"], sections["evaluation"]
    assert isinstance(decoding, DecodingConfig)
    assert isinstance(judged, EvaluationConfig)
    has_vectors = judged.vectors is not None
    require_names(model, decoding, judged.baseline_inputs, has_vectors=has_vectors, source=source)
    _require_obeyed(model, decoding, source)
    if not _is_of_a_run(Path(source.name)):
        require_read(model, sections, source, has_one_task=is_only_task)
    run = sections.pop("run")
    return RunConfig(
        name=run.name or as_folder_name(name),  # type: ignore[attr-defined]
        folder=folder.resolve(),
        model=model,
        **sections,  # type: ignore[arg-type]
    )


def _require_obeyed(model: ModelConfig, decoding: DecodingConfig, source: Source) -> None:
    if model.target.task == "transcribe" and not _is_of_a_run(Path(source.name)):
        from sensorium.tasks.transcribe import require_obeyed

        require_obeyed(decoding, [choice.scorer for choice in model.scorers.values()], source)


def _is_of_a_run(config: Path) -> bool:
    """Say whether a config is a run's own: what was accepted when a run was begun may stand in it, and be read."""
    run = config.parent
    return config.name == "config.toml" and ((run / "model").is_dir() or (run / "checkpoints").is_dir())


def parse_pretraining(values: Mapping[str, Any], source: Source, *, folder: Path, name: str) -> PretrainingConfig:
    """Validate nested dicts of a run without a target, as `parse`.

    Raises:
        ConfigError: as `parse`; a section that needs a target.
    """
    if "decoding" in values:
        raise ConfigError("[decoding] has no place where nothing is written", where=source.where("decoding"))
    sections = _sections(values, source, folder)
    require_no_teacher(sections["training"], source)
    if not _is_of_a_run(Path(source.name)):
        require_read(None, sections, source)
    model = model_config.parse_without_target(with_absolute_paths(values, folder), source)
    run = sections.pop("run")
    del sections["decoding"]
    return PretrainingConfig(
        name=run.name or as_folder_name(name),  # type: ignore[attr-defined]
        folder=folder.resolve(),
        model=model,
        **sections,  # type: ignore[arg-type]
    )


def _sections(values: Mapping[str, Any], source: Source, folder: Path) -> dict[str, Section]:
    known = [*_SECTIONS, *model_config.SECTIONS]
    for key in values:
        if key not in known:
            raise unknown_key(key, known, source)
    sections = {}
    for key, cls in _SECTIONS.items():
        raw = values.get(key, {})
        if not isinstance(raw, Mapping):
            raise ConfigError(f"'{key}' must be a section", where=source.where(key))
        sections[key] = cls.parse(raw, source, key)
    sections["media"] = _with_absolute_roots(sections["media"], folder)
    return sections


def _with_absolute_roots(media: Section, folder: Path) -> Section:
    """Let granted folders start at the config's folder, wherever the program is called from."""
    roots = tuple((folder / root.expanduser()).resolve() for root in media.roots)  # type: ignore[attr-defined]
    return media.model_copy(update={"roots": roots})


def require_no_teacher(training: Section, source: Source) -> None:
    """Raise ConfigError where a run that has not exactly one task names a teacher."""
    if training.teacher is not None:  # type: ignore[attr-defined]
        advice = "leave it out; a teacher teaches a model of one task that writes"
        raise ConfigError("a teacher has no place here", where=source.where("training.teacher"), advice=advice)


def _require_known_folds(model: ModelConfig, training: Section, source: Source) -> None:
    if model.language.train == "through" and training.refit_share:  # type: ignore[attr-defined]
        raise ConfigError(
            "validation rows are in no fold, so training through the counts cannot go on with them",
            where=source.where("training.refit_share"),
            advice='leave refit_share out (refit_counts may stay), or set language.train = "alone"',
        )


def with_absolute_paths(values: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Let the files and runs that inputs and the fusion begin with start at the config's folder."""
    absolute = {
        "inputs": _with_absolute_files,
        "fusion": _with_absolute_run,
        "language": _with_absolute_scorers,
        "target": _with_absolute_tokenizer,
    }
    return {key: absolute[key](value, folder) if key in absolute else value for key, value in values.items()}


def _with_absolute_run(fusion: Any, folder: Path) -> Any:
    """Let the run that a fusion is taken from start at the config's folder."""
    if not isinstance(fusion, Mapping):
        return fusion
    found = {key: value for key, value in fusion.items() if key in ("features", "taken_from") and is_run(value)}
    return {**fusion, **{key: absolute_spec(value, folder) for key, value in found.items()}}


def _with_absolute_files(inputs: Any, folder: Path) -> Any:
    """Let an input's `weights`, `vectors` and `vocabulary` start at the config's folder, as every path does."""
    if not isinstance(inputs, Mapping):
        return inputs

    def absolute(key: str, value: Any) -> Any:
        names_file = key in ("weights", "vectors", "vocabulary") and isinstance(value, str)
        if key in ("encoder", "taken_from") and is_run(value):
            return absolute_spec(value, folder)
        if key == "encoder" and isinstance(value, str):
            return absolute_source(value, folder)
        return str((folder / value).resolve()) if names_file else value

    return {
        name: {key: absolute(key, value) for key, value in raw.items()} if isinstance(raw, Mapping) else raw
        for name, raw in inputs.items()
    }


def _with_absolute_scorers(language: Any, folder: Path) -> Any:
    """Let the folders that scorers are published in start at the config's folder."""
    if not isinstance(language, Mapping):
        return language
    found = {name: _with_absolute_source(value, folder) for name, value in language.items()}
    if isinstance(scorers := language.get("scorers"), list | tuple):
        found["scorers"] = [absolute_source(s, folder) if isinstance(s, str) else s for s in scorers]
    return found


def _with_absolute_tokenizer(target: Any, folder: Path) -> Any:
    """Let the folder that a tokenizer is published in start at the config's folder."""
    if not isinstance(target, Mapping):
        return target
    named = {
        key: absolute_source(v, folder) for key, v in target.items() if key == "tokenizer" and isinstance(v, str)
    }
    return _with_absolute_source({**target, **named}, folder)


def _with_absolute_source(section: Any, folder: Path) -> Any:
    if not isinstance(section, Mapping) or not isinstance(section.get("source"), str):
        return section
    path = folder / Path(section["source"]).expanduser()
    return {**section, "source": str(path.resolve())} if path.exists() else section


def absolute_source(spec: str, folder: Path) -> str:
    """Let the folder or file in "KIND:SOURCE" start at `folder`, if it is there; other sources are names."""
    kind, _, source = spec.partition(":")
    path = folder / Path(source).expanduser()
    return f"{kind}:{path.resolve()}" if kind in KINDS_OF_FILES and source and path.exists() else spec
