"""Small finished runs of every kind, for tests that try a command on each.

Every kind has its folder with a table `t.csv`, its config `c.toml` and the run `run`, fitted by counting or by two
steps, so that all of them together take seconds.
"""

from __future__ import annotations

import csv
import random
from pathlib import Path

import sensorium
from sensorium.core.config import read_toml
from sensorium.workflow.tasks_config import parse_any
from sensorium.workflow.tasks_train import run_any

COMMON = """
[fusion]
width = 8
[training]
max_steps = 2
batch_rows = 16
[evaluation]
baselines = false
report = false
"""
QUESTION = '[inputs.question]\nmodality = "text"\nencoder = "bag_of_words"\n'
PLACE = '[inputs.place]\nmodality = "text"\nencoder = "bag_of_words"\n'
TARGET = '[target]\ncolumn = "answer"\ntask = "classify"\n'
COUNTING = '[language]\nscorers = ["naive_bayes"]\n'
BOTH = '[language]\nscorers = ["transformer", "ngram"]\n[language.transformer]\nlayers = 1\nwidth = 16\nheads = 2\n'
CONFIGS = {
    "one": f"{QUESTION}{PLACE}{TARGET}{COUNTING}",
    "writes": f'{QUESTION}{PLACE}[target]\ncolumn = "answer"\ntask = "caption"\n{BOTH}',
    "several": f"{QUESTION}several = true\n{PLACE}{TARGET}{COUNTING}",
    "tasks": (
        f"{QUESTION}{PLACE}{BOTH}"
        '[tasks.say.target]\ncolumn = "answer"\ntask = "classify"\n'
        '[tasks.tell]\ninputs = ["question"]\n[tasks.tell.target]\ncolumn = "place"\ntask = "caption"\n'
    ),
    "pretraining": f'{QUESTION}{PLACE}[objectives.matching]\ninputs = ["question", "place"]\n',
    "finds": f'{QUESTION}{PLACE}[target]\ntask = "retrieve"\n',
}
"""By kind of run."""
ANSWERING = tuple(kind for kind in CONFIGS if kind != "pretraining")


def table(path: Path, header: tuple[str, ...] = ("question", "place", "answer"), num_rows: int = 60) -> None:
    """Write rows whose answer is given by question and place."""
    draw = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for _ in range(num_rows):
            question, place = draw.choice(["what shines", "what grows"]), draw.choice(["home", "park"])
            answer = (
                f"{'sun' if question == 'what shines' else 'tree'} {'inside' if place == 'home' else 'outside'}"
            )
            writer.writerow([question, place, answer][: len(header)])


def small_run(kind: str, folder: Path, extra: str = "") -> Path:
    """Fit a run of a kind in `folder`; returns the run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    table(folder / "t.csv")
    (folder / "c.toml").write_text(f'[data]\ntrain = "t.csv"\ncache = ""\n{CONFIGS[kind]}{COMMON}{extra}')
    values, source = read_toml(folder / "c.toml")
    run_any(parse_any(values, source, folder=folder, name="c"), out=folder / "run")
    return folder / "run"


def loaded(run: Path) -> sensorium.Sensorium:
    """Return the finished run in Python."""
    return sensorium.load(run)
