"""Several tasks as one config: what each task's own model is, what is shared, and what cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensorium.core.config import parse_toml, write_toml
from sensorium.core.errors import ConfigError
from sensorium.model.tasks_config import dump_tasks, parse_tasks
from sensorium.tasks.registry import default_tokenizers
from sensorium.workflow.tasks_config import TasksConfig, any_from_text

CONFIG = """
[data]
train = "rows.csv"
test = "test.csv"
[inputs.photo]
modality = "image"
encoder = "cnn"
[inputs.question]
modality = "text"
encoder = "gru"
[inputs.caption]
modality = "text"
encoder = "gru"
[fusion]
features = "concat"
width = 16
[fusion.alignment]
inputs = ["photo", "caption"]
loss = "sigmoid"
[language]
scorers = ["ngram"]
[tasks.describe]
inputs = ["photo"]
weight = 0.5
[tasks.describe.target]
column = "text"
task = "caption"
[tasks.describe.language]
scorers = ["transformer", "ngram"]
[tasks.describe.language.transformer]
layers = 1
[tasks.answer.target]
column = "answer"
[tasks.answer.inputs]
photo = "picture"
question = "asked"
[tasks.answer.data]
train = "questions.csv"
[tasks.retrieve]
inputs = ["photo", "caption"]
"""


def parsed(text: str) -> TasksConfig:
    config = any_from_text(text, Path("/somewhere"), "my.toml")
    assert isinstance(config, TasksConfig)
    return config


def test_each_task_is_a_run_of_its_own_over_shared_sections():
    tasks = parsed(CONFIG).tasks
    assert list(tasks) == ["describe", "answer", "retrieve"]
    describe, answer, retrieve = (task.model for task in tasks.values())
    # What writes is fused from all inputs that any writing task reads; a caption is none of these.
    assert list(describe.inputs) == list(answer.inputs) == ["photo", "question"]
    assert describe.unread == {"question"}
    assert not answer.unread
    assert (describe.target.task, answer.target.task, retrieve.target.task) == ("caption", "answer", "retrieve")
    assert answer.inputs["photo"].column == "picture"
    assert list(describe.scorers) == ["transformer", "ngram"]
    assert list(answer.scorers) == ["ngram"]
    assert not retrieve.scorers
    assert list(retrieve.inputs) == ["photo", "caption"]
    # Alignment is the business of the task that finds, if there is one.
    assert describe.fusion.alignment is answer.fusion.alignment is None
    assert retrieve.fusion.alignment.loss == "sigmoid"


def test_a_task_with_its_own_table_has_none_of_the_others_test_rows():
    tasks = parsed(CONFIG).tasks
    assert tasks["describe"].data.test == "test.csv"
    assert tasks["answer"].data.train == "questions.csv"
    assert tasks["answer"].data.test is None


def test_dumped_and_read_again_it_is_the_same():
    config = parsed(CONFIG)
    again = parsed(write_toml(config.dump()))
    assert again.dump() == config.dump()
    assert again.weights == {"describe": 0.5, "answer": 1.0, "retrieve": 1.0}
    assert {n: t.model for n, t in again.tasks.items()} == {n: t.model for n, t in config.tasks.items()}
    models = {name: task.model for name, task in config.tasks.items()}
    alone = parse_tasks(*parse_toml(write_toml(dump_tasks(models))), default_tokenizer=default_tokenizers())
    assert alone == models


@pytest.mark.parametrize(
    ("change", "to", "message"),
    [
        ("[tasks.describe]\ninputs", "[tasks.describe]\ninput", r"my.toml:\d+:1: .*did you mean 'inputs'"),
        ('inputs = ["photo"]', 'inputs = ["foto"]', r"my.toml:\d+:1: .*names no input: 'foto'.*'photo'"),
        ('column = "text"', 'colum = "text"', r"my.toml:\d+:1: .*did you mean 'column'"),
        ('column = "answer"', "", r"'target.column' is missing"),
        ('task = "caption"', 'task = "captions"', r"my.toml:\d+:1: .*did you mean 'caption'"),
        ("layers = 1", "layers = 0", r"my.toml:\d+:1: .*greater than or equal to 1"),
        ("weight = 0.5", "weight = -1", r"my.toml:\d+:1: .*weight"),
        (
            'inputs = ["photo", "caption"]\nloss',
            'inputs = ["photo", "question"]\nloss',
            "names no input: 'question'",
        ),
        (
            "[tasks.retrieve]",
            "[inputs.unused]\nmodality = 'text'\nencoder = 'gru'\n[tasks.retrieve]",
            "no task reads input 'unused'",
        ),
        ("[tasks.retrieve]", "[target]\ncolumn = 'x'\n[tasks.retrieve]", "each task has its own 'target'"),
        ("[tasks.retrieve]", "[tasks.items]", "'items' cannot name a task"),
        ("[fusion]", "[training]\nrefit_counts = true\n[fusion]", "runs of one task"),
        ("[fusion]", "[trainig]\n[fusion]", "did you mean 'training'"),
    ],
)
def test_configs_that_cannot_be_meant(change: str, to: str, message: str):
    text = CONFIG.replace(change, to, 1)
    assert text != CONFIG
    with pytest.raises(ConfigError, match=message):
        parsed(text)


def test_no_task_at_all_and_a_section_that_is_none():
    head = CONFIG[: CONFIG.index("[tasks.describe]")]
    with pytest.raises(ConfigError, match="no tasks"):
        parsed(head + "[tasks]")
    with pytest.raises(ConfigError, match="must be a section"):
        parsed("tasks = {one = 3}\n" + head)
