"""Settings of a search are read by a task of several that searches, or refused before training."""

from __future__ import annotations

import pytest

from sensorium.core.errors import ConfigError
from sensorium.workflow.readiness import require_all_ready
from sensorium.workflow.tasks_config import any_from_text
from sensorium.workflow.tasks_prepare import prepare_tasks

CONFIG = """
[data]
train = "t.csv"
cache = ""
[inputs.text]
modality = "text"
encoder = "bag_of_words"
{shared}
[tasks.name.target]
column = "label"
task = "classify"
[tasks.say.target]
column = "caption"
task = "{task}"
{closed}
{own}
"""


def ask(folder, resumes=False, *, shared="", own="", task="caption", closed=""):
    rows = "".join(f"word{i} here,{'ab'[i % 2]},it says {i % 3}\n" for i in range(40))
    (folder / "t.csv").write_text("text,label,caption\n" + rows)
    config, said = any_from_text(CONFIG.format(shared=shared, own=own, task=task, closed=closed), folder), []
    require_all_ready(config.tasks, prepare_tasks(config).tasks, say=said.append, resumes=resumes)
    return said


BEAM, OWN = '[decoding]\nsearch = "beam"', "[tasks.{}.decoding]\nmax_tokens = 9"


def test_what_one_task_searches_by_may_be_shared(tmp_path):
    assert ask(tmp_path, shared=BEAM) == []
    rescored = f'{BEAM}\nn_best = 2\n[decoding.rescore]\nby = ["transformer"]'
    assert ask(tmp_path, shared=rescored) == []
    assert ask(tmp_path, own=OWN.format("say")) == []


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"own": OWN.format("name")}, r"tasks\.name\.decoding\.max_tokens"),
        ({"own": OWN.format("say"), "task": "answer"}, r"tasks\.say\.decoding\.max_tokens"),
        ({"own": OWN.format("say"), "closed": "closed = true"}, r"tasks\.say\.decoding\.max_tokens"),
        ({"shared": BEAM, "task": "answer"}, r"tasks\.name\.decoding\.search"),
    ],
)
def test_what_no_task_searches_by_is_refused_and_a_run_of_before_says_it(tmp_path, given, key):
    with pytest.raises(ConfigError, match=f"'{key}' is not read: known answers"):
        ask(tmp_path, **given)
    assert any("is not read" in line for line in ask(tmp_path, resumes=True, **given))
