"""Whatever may take long before, after or beside training tells whoever shows the run's progress how far it is."""

from __future__ import annotations

import pytest

import sensorium
from sensorium.data.near_duplicates import known_texts
from sensorium.training import progress as progress_module
from sensorium.training.console import shown_by, stage
from sensorium.training.progress import Silent, Work
from sensorium.workflow.config import load_config
from sensorium.workflow.explaining import explain_answer
from sensorium.workflow.train import train

CHANGES = (
    "target.task=caption",
    'language.scorers=["transformer", "ngram", "neighbours"]',
    "inputs.photo.frozen=true",
    "training.max_steps=2",
    "evaluation.baselines=false",
    "decoding.search=beam",
    "decoding.n_best=2",
    "decoding.max_tokens=4",
    'decoding.rescore.by=["ngram"]',
    'decoding.rescore.metric="bleu1"',
)
TITLES = (
    "looking for media that rows share",
    "reading question for its vocabulary",
    "preparing photo",
    "validation: comparing photo with that of training",
    "counting words",
    "remembering",
    "weighing the scorers",
    "writing texts to choose among",
    "weighing what chooses texts",
    "judging",
    "judging what rows may lack",
    "sharing out what each input gave",
    "mapping what the answer rests on",
)


class Titles(Silent):
    """Keep how far every piece of work came."""

    def __init__(self) -> None:
        self.ends: dict[str, tuple[int, int]] = {}

    def update(self, status) -> None:
        if isinstance(status, Work):
            assert 0 < status.done <= status.total, status
            self.ends[status.title] = (status.done, status.total)


@pytest.fixture(scope="module")
def told(shapes_folder, tmp_path_factory) -> dict[str, tuple[int, int]]:
    """How far each piece of work of a training and an explanation came, by its title, were all of it slow."""
    titles, folder = Titles(), tmp_path_factory.mktemp("told")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress_module, "_QUIET_S", -1.0)
        patch.setattr(progress_module, "_SHOWN_EVERY_S", 0.0)
        config = load_config(shapes_folder / "shapes.toml", [*CHANGES, f'data.cache="{folder / "cache"}"'])
        train(config, out=folder / "run", progress=titles)
        with shown_by(titles):
            model = sensorium.load(folder / "run")
            explain_answer(
                model.predictor_of(None), {"question": "is it red?", "photo": shapes_folder / "0.png"}, "yes"
            )
    return titles.ends


@pytest.mark.parametrize("title", TITLES)
def test_what_may_take_long_says_how_far_it_is(told, title):
    done, total = told[title]
    assert 0 < done <= total
    if title not in (
        "weighing what chooses texts",
        "reading question for its vocabulary",
    ):  # these know a bound alone
        assert done == total


def test_nothing_else_is_announced_under_a_name_that_is_not_listed(told):
    assert set(told) <= {*TITLES, "preparing question"}


def test_comparing_texts_says_how_far_it_is():
    told = []
    known_texts([f"a text of five words {i}" for i in range(4_500)], ["another"], lambda *one: told.append(one))
    assert told == [(2_000, 4_500), (4_000, 4_500), (4_500, 4_500)]


def test_a_job_shows_what_it_calls_unless_that_names_another():
    outer, inner = Titles(), Titles()
    with pytest.MonkeyPatch.context() as patch, shown_by(outer):
        patch.setattr(progress_module, "_QUIET_S", -1.0)
        for asked in (None, inner):
            with stage(asked, "working") as advance:
                advance(1, 2)
        with shown_by(None), stage(None, "within") as advance:
            advance(1, 1)
    assert (outer.ends, inner.ends) == ({"working": (1, 2), "within": (1, 1)}, {"working": (1, 2)})
