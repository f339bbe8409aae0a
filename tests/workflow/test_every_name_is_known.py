"""Every key of a config that takes a name is declared here, with what becomes of a name that nobody has."""

from __future__ import annotations

import csv
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import sensorium
from sensorium.core.config import Section
from sensorium.core.errors import SensoriumError
from sensorium.data.image_preparer import ImagePreparer
from sensorium.workflow.readiness import ready
from sensorium.workflow.tasks_config import any_from_text

CONFIG = """
[run]
name = "c"
[data]
train = "t.csv"
cache = ""
[inputs.photo]
modality = "image"
encoder = "cnn"
size = 8
[inputs.words]
modality = "text"
encoder = "bag_of_words"
[target]
column = "caption"
task = "caption"
[fusion]
width = 16
[language]
scorers = ["transformer", "ngram"]
[training]
max_steps = 1
[evaluation]
report = false
"""
WITH_MEMORY = CONFIG.replace('"ngram"', '"knn"')
RESCORED = '[decoding]\nsearch = "beam"\nn_best = 2\n[decoding.rescore]\n'

NEAR = {
    "InputSection.modality": ("inputs.photo", 'modality = "imge"', "image"),
    "InputSection.encoder": ("inputs.photo", 'encoder = "cnm"', "image.cnn"),
    "InputSection.column": ("inputs.photo", 'column = "phto"', "photo"),
    "TakenSection.taken_from": ("inputs.photo", 'encoder = "run:rnu#photo"', "run"),
    "TextInput.tokenizer": ("inputs.words", 'tokenizer = "wrd"', "word"),
    "TextInput.tokenizer_options": ("inputs.words", "tokenizer_options = {min_cuont = 2}", "min_count"),
    "TargetSection.column": ("target", 'column = "captoin"', "caption"),
    "TargetSection.task": ("target", 'task = "captoin"', "caption"),
    "TargetSection.tokenizer": ("target", 'tokenizer = "wrd"', "word"),
    "FusionSection.features": ("fusion", 'features = "concta"', "concat"),
    "FusionSection.input_dropout": ("fusion", "input_dropout = {phto = 0.1}", "photo"),
    "FusionSection.input_patterns": ("fusion", 'input_patterns = {"phto+words" = 0.1}', "photo"),
    "CrossAttention.Config.query": ("fusion", 'features = "cross_attention"\nquery = "phto"', "photo"),
    "Film.Config.modulated": ("fusion", 'features = "film"\nmodulated = "phto"', "photo"),
    "LayoutSection.order": ("fusion", 'layout = "serial"\norder = ["phto", "words"]', "photo"),
    "LayoutSection.groups": ("fusion", 'layout = "hybrid"\ngroups = [["phto"], ["words"]]', "photo"),
    "Alignment.Config.inputs": ("fusion.alignment", 'inputs = ["phto", "words"]', "photo"),
    "Balance.Config.inputs": ("fusion.balance", 'inputs = ["phto"]', "photo"),
    "Balance.Config.weights": ("fusion.balance", "weights = {phto = 1.0}", "photo"),
    "Matching.Config.inputs": ("objectives.matching", 'inputs = ["phto", "words"]', "photo"),
    "ObjectivesSection.masked": ("objectives.masked", "phto = 0.2", "photo"),
    "LanguageSection.scorers": ("language", 'scorers = ["transformr"]', "transformer"),
    "LanguageSection.internal": ("language.internal", "transformr = 0.5", "transformer"),
    "Crf.Config.inputs": ("language.crf", 'inputs = ["wrds"]', "words"),
    "CTC.Config.input": ("language.ctc", 'input = "phto"', "photo"),
    "LabelScorer.Config.inputs": ("language.naive_bayes", 'inputs = ["wrds"]', "words"),
    "NaiveBayes.Config.inputs": ("language.naive_bayes", 'inputs = ["wrds"]', "words"),
    "NbSvm.Config.inputs": ("language.nb_svm", 'inputs = ["wrds"]', "words"),
    "NearestNeighbours.Config.of": ("language.knn", 'of = "transformr"', "transformer"),
    "DecodingConfig.search": ("decoding", 'search = "gredy"', "greedy"),
    "Rescoring.by": ("decoding.rescore", 'by = ["ngrm"]', "ngram"),
    "Rescoring.metric": ("decoding.rescore", 'by = ["ngram"]\nmetric = "bleu5"', "bleu4"),
    "Consensus.memory": ("decoding.consensus", 'memory = "ngrm"', "ngram"),
    "TrainingConfig.teacher": ("training", 'teacher = "run:rnu"', "run"),
    "DataConfig.train": ("data", 'train = "tt.csv"', "t.csv"),
    "DataConfig.validation": ("data", 'validation = "tt.csv"', "t.csv"),
    "DataConfig.test": ("data", 'test = "tt.csv"', "t.csv"),
    "DataConfig.split_column": ("data", 'split_column = "captoin"', "caption"),
    "DataConfig.folder": ("data", 'folder = "pictrues"', "pictures"),
    "EmbeddingInput.vectors": ("inputs.words", 'encoder = "embedding"\nvectors = "vectros.txt"', "vectors.txt"),
    "TextTfidf.Config.vectors": ("inputs.words", 'encoder = "tfidf"\nvectors = "vectros.txt"', "vectors.txt"),
    "EvaluationConfig.vectors": ("evaluation", 'vectors = "vectros.txt"', "vectors.txt"),
    "EvaluationConfig.baseline_inputs": ("evaluation", 'baseline_inputs = ["phto"]', "photo"),
    "EvaluationConfig.metrics": ("evaluation", 'metrics = ["bleu5"]', "bleu4"),
    "MediaPolicy.roots": ("media", 'roots = ["pictrues"]', "pictures"),
}
"""What each key is given, and the near name of the refusal."""

ELSEWHERE = {
    "source": "of a published network or tokenizer: tests/encoders, tests/language",
    "revision": "of its hub",
    "layer": "of a Keras network: tests/encoders/test_keras_encoders.py",
    "weights": "a file, or by name of a scorer that Rescoring.by names",
    "vocabulary": "a file: tests/encoders/test_keras_encoders.py",
    "targets": "of adapters: tests/core/test_lora.py",
    "templates": "of features: tests/data/test_token_features.py",
    "frame_encoder": "a section of its own: tests/encoders/test_video_encoders.py",
    "hot_words": "texts",
    "prompt": "texts",
    "separator": "a text",
    "architecture": "written by the program",
    "taken_digest": "written by the program",
    "cache": "a folder that is made",
    "name": "the run's own",
}
"""Keys that take a text or path and are tried elsewhere, or name nothing that must be there."""


def takes_a_name(annotation: Any) -> bool:
    """Say whether a key holds a text or a path, alone or in a list, or as the key of a mapping."""
    return annotation in (str, Path) or any(map(takes_a_name, typing.get_args(annotation)))


def sections(cls: type[Section] = Section) -> Iterator[type[Section]]:
    for section in cls.__subclasses__():
        yield section
        yield from sections(section)


def named_keys() -> set[str]:
    """Return 'Section.key' of every key of ours that takes a name, by the section that first says so."""
    for module in pkgutil.walk_packages(sensorium.__path__, "sensorium."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = set()
    for section in sections():
        if section.__module__.startswith("sensorium."):
            for key, field in section.model_fields.items():
                owner = next(c for c in reversed(section.__mro__) if key in inspect.get_annotations(c))
                if takes_a_name(field.annotation):
                    found.add(f"{owner.__qualname__}.{key}")
    return found


def test_every_key_that_takes_a_name_is_declared() -> None:
    undeclared = {key for key in named_keys() - NEAR.keys() if key.rpartition(".")[2] not in ELSEWHERE}
    assert not undeclared, "say in NEAR how an unknown name is refused"


def config_with(section: str, lines: str) -> str:
    kind = section.partition(".")[2]
    text = WITH_MEMORY if kind == "knn" else CONFIG
    if kind in ("crf", "ctc", "naive_bayes", "nb_svm"):
        text = text.replace('"transformer", "ngram"', f'"{kind}"')
    if kind == "rescore":
        return text + RESCORED + lines
    if f"[{section}]\n" not in text:
        return f"{text}[{section}]\n{lines}\n"
    before, _, after = text.partition(f"[{section}]\n")
    body, mark, rest = after.partition("\n[")
    given = {line.partition(" ")[0] for line in lines.split("\n")}
    kept = [line for line in body.split("\n") if line.partition(" ")[0] not in given]
    return before + "\n".join([f"[{section}]", lines, *kept]) + mark + rest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of pictures that must not be read, and what stands beside it."""
    for place in ("pictures", "run"):
        (tmp_path / place).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "vectors.txt").write_text("a 0.1 0.2\n", encoding="utf-8")
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [("a.png", f"a dog {i}", "some text") for i in range(20)]
        csv.writer(file).writerows([("photo", "words", "caption"), *rows])

    def read(*_: Any) -> None:
        raise AssertionError("a picture was read")

    monkeypatch.setattr(ImagePreparer, "__call__", read)
    return tmp_path


@pytest.mark.parametrize("begin", ["check", "train"])
@pytest.mark.parametrize("key", NEAR)
def test_a_name_that_nobody_has_is_refused_before_media_are_read(key, begin, folder):
    section, lines, near = NEAR[key]
    with pytest.raises(SensoriumError, match=rf"did you mean '([^']*/)?{near}'"):
        begun(config_with(section, lines), begin, folder)
    assert not (folder / "out" / "model").exists()


def begun(text: str, begin: str, folder: Path) -> None:
    config: Any = any_from_text(text, folder)
    if begin == "check":
        ready(config)
    else:
        sensorium.Sensorium(config).fit(folder / "out")
