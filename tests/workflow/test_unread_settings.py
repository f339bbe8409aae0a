"""A setting that nothing would read is refused when the config is read, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensorium.core.config import Source
from sensorium.core.errors import ConfigError
from sensorium.decoding.config import DecodingConfig
from sensorium.workflow.config import RunConfig, config_from_text, load_config, parse
from sensorium.workflow.tasks_config import TasksConfig, any_from_text, parse_any
from sensorium.workflow.unread_settings import changed

OTHER = {
    "search": '"sample"', "max_tokens": "9", "min_tokens": "2", "beam_width": "2", "length_penalty": "0.1",
    "n_best": "2", "early_stopping": "true", "temperature": "0.5", "top_k": "3", "top_p": "0.5", "seed": "7",
    "repetition_penalty": "2.0", "no_repeat_ngram": "2", "ctc": "{ width = 5 }", "consensus": "{ draws = 4 }",
    "rescore": "{ by = [] }", "allow_unknown": "true",
}  # fmt: skip
"""Each setting of `[decoding]`, as it is not by default."""
TWO = 'scorers = ["transformer", "ngram"]'
ALSO = {
    "beam_width": 'search = "beam"', "length_penalty": 'search = "beam"', "n_best": 'search = "beam"',
    "early_stopping": 'search = "beam"', "rescore": 'search = "beam"\nn_best = 2', "temperature": 'search = "sample"',
    "top_k": 'search = "sample"', "top_p": 'search = "sample"', "seed": 'search = "sample"',
}  # fmt: skip


def read(task: str = "caption", *, target: str = "", **sections: str) -> RunConfig:
    data = sections.pop("data", "")
    rest = "\n".join(f"[{name}]\n{text}" for name, text in sections.items())
    text = f"""
[data]
train = "t.csv"
{data}
[inputs.q]
modality = "text"
encoder = "bag_of_words"
[target]
column = "y"
task = "{task}"
{target}
{rest}
"""
    return config_from_text(text, Path())


def test_every_setting_of_decoding_is_tried() -> None:
    assert OTHER.keys() == DecodingConfig.model_fields.keys()


@pytest.mark.parametrize("key", OTHER)
@pytest.mark.parametrize(
    ("task", "target"), [("classify", ""), ("answer", "closed = true"), ("caption", "closed = true"), ("tag", "")]
)
def test_what_is_chosen_exactly_is_not_searched(task: str, target: str, key: str) -> None:
    with pytest.raises(ConfigError, match=r"'decoding\.\w+' is not read"):
        read(task, target=target, decoding=f"{ALSO.get(key, '')}\n{key} = {OTHER[key]}")


@pytest.mark.parametrize("key", sorted(OTHER.keys() - {"ctc"}))
def test_what_is_written_freely_is_searched_as_told(key: str) -> None:
    decoding = read(decoding=f"{ALSO.get(key, '')}\n{key} = {OTHER[key]}").decoding
    assert key in changed(decoding)


def test_frames_are_for_transcripts() -> None:
    with pytest.raises(ConfigError, match=r"'decoding\.ctc' is not read"):
        read(decoding="ctc = { hot_words = { dog = 5.0 } }")


@pytest.mark.parametrize(
    ("section", "text", "key"),
    [
        ("training", "average_decay = 0.5", "training.average_decay"),
        ("training", "teacher_temperature = 5.0", "training.teacher_temperature"),
        ("training", "teacher_weight = 0.9", "training.teacher_weight"),
        ("training", 'task_weights = "uncertainty"', "training.task_weights"),
        ("training", "task_temperature = 3.0", "training.task_temperature"),
        ("evaluation", "baselines = false\nbaseline_budget = 0.5", "evaluation.baseline_budget"),
        ("evaluation", 'baselines = false\nbaseline_inputs = ["q"]', "evaluation.baseline_inputs"),
        ("data", 'validation = "v.csv"\nvalidation_fraction = 0.4', "data.validation_fraction"),
        ("language", f"{TWO}\nfolds = 9", "language.folds"),
        ("language", 'scorers = ["ngram"]\nmix = "product"', "language.mix"),
        ("language", 'scorers = ["ngram"]\nweights = [0.5]', "language.weights"),
        ("training", "refit_counts = true", "training.refit_counts"),
    ],
)
def test_a_setting_that_another_switches_off_is_refused(section: str, text: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"'{key}' is not read"):
        read(**{section: text})


def test_what_the_switch_is_on_for_is_read() -> None:
    assert read(training='average = "ema"\naverage_decay = 0.5').training.average_decay == 0.5
    assert read(evaluation="baseline_budget = 0.5").evaluation.baseline_budget == 0.5


def test_what_is_composed_is_read() -> None:
    through = read(language=f'{TWO}\ntrain = "through"\nfolds = 9').model.language
    assert (through.folds, through.train) == (9, "through")
    assert read(language=f'{TWO}\nmix = "product"\nweights = [1.0, 0.5]').model.language.weights == (1.0, 0.5)
    assert read(language=TWO, training="refit_counts = true").training.refit_counts


def test_frames_are_not_mixed_token_by_token_in_training() -> None:
    ctc = 'scorers = ["ctc", "ngram"]\n[language.ctc]\ninput = "sound"'
    sound = '[inputs.sound]\nmodality = "audio"\nencoder = "cnn"'
    assert read("transcribe", target=sound, language=ctc).model.language.train == "alone"
    with pytest.raises(ConfigError, match="learns from whole texts"):
        read("transcribe", target=sound, language=f'train = "through"\n{ctc}')


def test_several_tasks_share_settings() -> None:
    config = any_from_text(
        """
[data]
train = "t.csv"
[inputs.q]
modality = "text"
encoder = "bag_of_words"
[tasks.say.target]
column = "y"
task = "caption"
[tasks.name.target]
column = "z"
task = "classify"
[decoding]
search = "beam"
[training]
task_temperature = 3.0
""",
        Path(),
    )
    assert isinstance(config, TasksConfig)
    assert config.training.task_temperature == 3.0
    assert parse_any(config.dump(), Source("again"), folder=Path(), name="again") is not None


def test_what_a_run_writes_out_is_read_back() -> None:
    config = read("classify", training='average = "ema"\naverage_decay = 0.5')
    assert parse(config.dump(), Source("again"), folder=Path(), name="config").training == config.training


def test_a_run_of_before_is_read_with_what_nothing_reads(tmp_path: Path) -> None:
    text = """
[data]
train = "t.csv"
[inputs.q]
modality = "text"
encoder = "bag_of_words"
[target]
column = "y"
task = "classify"
[training]
average_decay = 0.5
"""
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ConfigError, match="is not read"):
        load_config(tmp_path / "config.toml")
    (tmp_path / "model").mkdir()
    assert load_config(tmp_path / "config.toml").training.average_decay == 0.5


def test_frames_trained_through_counts_before_are_opened(tmp_path: Path) -> None:
    text = """
[data]
train = "t.csv"
[inputs.sound]
modality = "audio"
encoder = "cnn"
[target]
column = "y"
task = "transcribe"
[language]
scorers = ["ctc", "ngram"]
train = "through"
"""
    (tmp_path / "new.toml").write_text(text)
    with pytest.raises(ConfigError, match="learns from whole texts"):
        load_config(tmp_path / "new.toml", [])
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.toml").write_text(text)
    assert load_config(run / "config.toml", []).model.language.train == "through"
