"""What a config names is there, or the config is refused when it is read; `check` refuses what `train` would."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import sensorium
from sensorium.core.config import Source, parse_toml
from sensorium.core.errors import ConfigError, SensoriumError
from sensorium.workflow.readiness import ready
from sensorium.workflow.tasks_config import any_from_text, load_any, parse_any

CONFIG = """
[run]
name = "c"
[data]
train = "t.csv"
cache = ""
[inputs.words]
modality = "text"
encoder = "lstm"
hidden = 8
embedding = 8
tokenizer = "whitespace"
[inputs.note]
modality = "text"
encoder = "bag_of_words"
[target]
column = "tags"
task = "TASK"
[fusion]
width = 16
[language]
scorers = [SCORERS]
[training]
max_steps = 2
[evaluation]
report = false
"""
TAGS = CONFIG.replace("TASK", "tag").replace("SCORERS", '"crf"') + '[language.crf]\ninputs = ["words"]\n'
TEXTS = CONFIG.replace("TASK", "caption").replace("SCORERS", '"transformer", "ngram"')
NO_SCORER = '[decoding.rescore]\nby = ["ngramm"]\n[decoding]\nsearch = "beam"\nn_best = 2\n'


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ('[decoding]\nsearch = "gredy"', r"my:\d+:1: no search 'gredy' \(did you mean 'greedy'"),
        ("[decoding]\nbaseline_inputs = 1", "unknown key 'decoding.baseline_inputs'"),
        ('baseline_inputs = ["nots"]', r"my:\d+:1: no input 'nots' \(did you mean 'note'"),
        ('metrics = ["bleu44"]', "did you mean 'bleu4'"),
        ('metrics = ["embedding_similarity"]', "needs word vectors"),
        (NO_SCORER, r"no scorer 'ngramm' \(did you mean 'ngram'"),
        (NO_SCORER.replace("ngramm", "ngram").replace("\n[dec", '\nmetric = "blue4"\n[dec', 1), "'bleu4'"),
        ('[decoding.consensus]\nmemory = "ngra"', r"no scorer 'ngra' \(did you mean 'ngram'"),
        ('[decoding.consensus]\nmemory = "ngram"', "'ngram' recalls no texts"),
        ("[language.transformr]\nlayers = 1", "did you mean 'transformer'"),
        ("[language.internal]\ntransformr = 0.5", "did you mean 'transformer'"),
        ("[fusion.input_patterns]\nnot = 0.1", "names no input: 'not'"),
        ('[fusion.alignment]\ninputs = ["words", "nte"]', "did you mean 'note'"),
        ('[objectives.matching]\ninputs = ["words", "nte"]', "did you mean 'note'"),
        ("[objectives.masked]\nnte = 0.1", "did you mean 'note'"),
    ],
)
def test_names_are_known_when_a_config_is_read(added, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        parse_any(*parse_toml(TEXTS + added, "my"), folder=tmp_path, name="c")


@pytest.mark.parametrize(
    ("given", "advice"), [('input = "word"', "did you mean 'words'"), ("", "set language.ctc.input")]
)
def test_what_listens_to_one_input_names_it(given, advice, tmp_path):
    text = CONFIG.replace("TASK", "transcribe").replace("SCORERS", '"ctc"') + f"[language.ctc]\n{given}\n"
    with pytest.raises(ConfigError, match=advice):
        any_from_text(text, tmp_path)


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\\\b", "a\\u0000b", "", ".", "..", "x" * 251, " a", "a."])
def test_a_run_is_named_as_one_folder(name, tmp_path):
    with pytest.raises(ConfigError, match="a run's name is one folder's"):
        any_from_text(TEXTS.replace('name = "c"', f'name = "{name}"'), tmp_path)
    assert any_from_text(TEXTS.replace('name = "c"', 'name = "café 2.1"'), tmp_path).name == "café 2.1"


@pytest.mark.parametrize(
    "stem",
    [
        "c (1)",
        "lr=0.01, size=4",
        "what's up!",
        "x" * 120,
        ".hidden",
        " a. ",
        "a\nb",
        "a\\b",
        "写真",
        "ü" * 130,
        "...",
    ],
)
def test_a_run_that_is_named_after_its_config_says_so_in_a_config_that_is_read(stem, tmp_path):
    config = any_from_text(TEXTS.replace('name = "c"', ""), tmp_path, stem)
    assert parse_any(config.dump(), Source("config.toml"), folder=tmp_path, name="config").name == config.name
    assert config.name == stem or not stem.isprintable() or stem in ("a\\b", ".hidden", " a. ", "ü" * 130, "...")


@pytest.mark.parametrize(
    "assigned", ["batch_rows = 1e20", 'batch_rows = "16"', "learning_rate = true", "seed = 1.0"]
)
def test_values_are_of_their_type(assigned, tmp_path):
    with pytest.raises(ConfigError, match=r"should be a valid"):
        any_from_text(TEXTS.replace("[training]\n", f"[training]\n{assigned}\n"), tmp_path)


def tagged(folder: Path) -> Path:
    with (folder / "t.csv").open("w", newline="") as file:
        rows = [("the dog runs", "some note", "O B O"), ("a cat", "other note", "O B")] * 20
        csv.writer(file).writerows([("words", "note", "tags"), *rows])
    return folder


@pytest.mark.parametrize("mix", ['"crf"', '"crf", "hmm"'])
def test_an_input_that_no_scorer_reads_has_no_baseline_alone(mix, tmp_path):
    text = TAGS.replace('"crf"', mix, 1)
    config = any_from_text(text, tagged(tmp_path))
    model = config.model
    assert model.is_read_alone("words")  # type: ignore[union-attr]
    assert model.is_read_alone("note") == ("hmm" in mix)  # type: ignore[union-attr]
    assert model.only(["words"]).scorers["crf"].options.inputs == ("words",)  # type: ignore[union-attr]


def test_a_second_input_beside_a_crf_that_names_its_own(tmp_path):
    said: list[str] = []
    (tagged(tmp_path) / "c.toml").write_text(TAGS)
    from sensorium.workflow.train import train

    result = train(any_from_text(TAGS, tmp_path), out=tmp_path / "run", say=said.append)  # type: ignore[arg-type]
    assert [baseline.name for baseline in result.baselines] == ["majority", "words only"]
    assert "no baseline of note only: every scorer reads other inputs" in said


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ('vectors = "no.txt"', "no.txt"),
        ("[training]\nrefit_counts = true", "no others to judge the model on"),
        ('[training]\nteacher = "run:nowhere"', "nowhere"),
        ('[decoding]\nsearch = "beam"', "'decoding.search' is not read: known answers are compared exactly"),
        ('[decoding]\nsearch = "beam"\nn_best = 2\n[decoding.rescore]\nby = ["ngram"]', "compared exactly"),
    ],
)
def test_check_refuses_what_training_would(added, message, tmp_path):
    section, _, rest = added.partition("\n")
    text = TEXTS.replace("caption", "answer")
    text = text.replace(section + "\n", f"{section}\n{rest}\n") if section in text else text + added
    config = any_from_text(text, tagged(tmp_path))
    with pytest.raises(SensoriumError, match=message) as checked:
        ready(config)  # type: ignore[arg-type]
    with pytest.raises(type(checked.value), match=message):
        sensorium.Sensorium(config).fit(tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run" / "model").exists()


def test_a_run_of_before_is_read_though_it_says_what_is_refused_today(tmp_path):
    text = CONFIG.replace("TASK", "transcribe").replace("SCORERS", '"ctc"') + '[language.ctc]\ninput = "words"\n'
    new, begun = tmp_path / "config.toml", tmp_path / "run" / "config.toml"
    (begun.parent / "model").mkdir(parents=True)
    for path in (new, begun):
        path.write_text(text + "[decoding]\nmax_tokens = 20\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="'max_tokens' is not read"):
        load_any(new)
    assert load_any(begun).decoding.max_tokens == 20
