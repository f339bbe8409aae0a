"""Every recipe is a valid config; those whose data are at hand take a few real steps."""

from pathlib import Path

import pytest

from sensorium.core.errors import MissingExtraError
from sensorium.data.synthesis.scene_table import SceneOptions, write_scenes
from sensorium.media.packaged import packaged_files
from sensorium.training.progress import Silent
from sensorium.workflow.config import load_config
from sensorium.workflow.pretraining import PretrainingResult, pretrain
from sensorium.workflow.tasks_config import load_any
from sensorium.workflow.tasks_train import TasksResult, train_any
from sensorium.workflow.train import train

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


PACKAGED = {"flickr8k": ["efficientnet-lite0"]}
"""Published weights that a recipe begins with."""

TAKEN = [f'inputs.{name}.encoder="run:{{run}}#{name}"' for name in ("photo", "question")]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> PretrainingResult:
    changes = ["training.max_steps=1", "training.batch_rows=32", "data.train_fraction=0.01", "data.cache=''"]
    config = load_any(next(path for path in RECIPES if path.stem == "easy_vqa_pretraining"), changes)
    return pretrain(config, out=tmp_path_factory.mktemp("recipes") / "pre", progress=Silent())


def require_packaged(source: str) -> None:
    try:
        packaged_files(source)
    except MissingExtraError as error:
        pytest.skip(f"{error}")


def changes_of(recipe: Path, request: pytest.FixtureRequest) -> list[str]:
    """Let a recipe that begins from the run of another one find it."""
    if 'encoder = "run:' not in recipe.read_text():
        return []
    run = request.getfixturevalue("pretrained").run
    return [change.format(run=run) for change in TAKEN]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_valid_and_says_how_to_run_it(recipe, request):
    load_any(recipe, changes_of(recipe, request))
    header = recipe.read_text().split("\n\n[")[0]
    assert f"sensorium train recipes/{recipe.name}" in header
    assert all(word in header for word in ("expected:", "time:", "machine:"))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("easy_vqa", []),
        ("digits", ["data.train='fsdd:{data}/fsdd/train'", "data.test='fsdd:{data}/fsdd/test'"]),
        *(
            (
                name,
                [
                    "data.train='conll:{data}/text/conll2000/test.txt'",
                    "data.test='conll:{data}/text/conll2000/test.txt'",
                ],
            )
            for name in ("conll2000", "conll2000_bilstm")
        ),
        ("digits_hmm", ["data.train='fsdd:{data}/fsdd/train'", "data.test='fsdd:{data}/fsdd/test'"]),
        ("digits_ctc", ["data.train='fsdd:{data}/fsdd/train'", "data.test='fsdd:{data}/fsdd/test'"]),
        (
            "tinyshakespeare",
            [
                "data.train='windows:{data}/text/tinyshakespeare.txt/held-out'",
                "data.validation='windows:{data}/text/tinyshakespeare.txt/held-out'",
                "data.test='windows:{data}/text/tinyshakespeare.txt/validation'",
            ],
        ),
        ("nlvr", ["data.train='nlvr:{data}/nlvr/train'", "data.test='nlvr:{data}/nlvr/dev'"]),
        (
            "flickr8k",
            [
                "data.train='{data}/flickr8k/captions.tsv'",
                "data.folder='{data}/flickr8k/images'",
                "data.train_fraction=0.02",
            ],
        ),
    ],
)
def test_recipe_takes_real_steps(name, changes, reference_data, tmp_path):
    for source in PACKAGED.get(name, ()):
        require_packaged(source)
    recipe = next(path for path in RECIPES if path.stem == name)
    changes = [change.format(data=reference_data.resolve()) for change in changes]
    changes += ["training.max_steps=2", "evaluation.max_rows=8", "evaluation.baselines=false", "data.cache=''"]
    result = train(load_config(recipe, changes), out=tmp_path / "run", progress=Silent())
    assert result.fitted.report is not None
    assert result.fitted.report.num_steps == 2
    assert result.evaluation.num_rows == 8


def test_a_pretrained_recipe_is_fine_tuned(pretrained, tmp_path):
    assert set(pretrained.objectives) == {"masked photo", "masked question"}
    recipe = next(path for path in RECIPES if path.stem == "easy_vqa_tenth")
    changes = [change.format(run=pretrained.run) for change in TAKEN]
    changes += ["training.max_steps=2", "evaluation.max_rows=8", "evaluation.baselines=false", "data.cache=''"]
    result = train(load_config(recipe, changes), out=tmp_path / "run", progress=Silent())
    assert result.prepared.model.config.inputs["photo"].section.taken_from.endswith("#photo")
    assert result.evaluation.num_rows == 8


def test_a_recipe_of_several_tasks_takes_real_steps(tmp_path):
    pytest.importorskip("espeakng_loader", reason="scenes are spoken with espeak's voices")
    write_scenes(tmp_path / "scenes", 60, 0, SceneOptions(size=32, speech="question"))
    recipe = next(path for path in RECIPES if path.stem == "four_tasks")
    changes = [f"data.train='{tmp_path}/scenes/scenes.csv'", "data.cache=''"]
    config = load_any(recipe, [*changes, "training.max_steps=4", "evaluation.report=false"])
    result = train_any(config, out=tmp_path / "run", progress=Silent())
    assert isinstance(result, TasksResult)
    assert set(result.tasks) == {"caption", "answer", "classify", "retrieve"}
    assert result.fitted.report is not None
    assert result.fitted.report.num_steps == 4


@pytest.mark.parametrize(
    ("name", "table"),
    [("mr", "sentence_polarity/rt-polarity.*"), ("subj", "subjectivity/*.tok.gt9.5000")],
)
def test_counting_recipe_beats_the_majority(name, table, reference_data, tmp_path):
    recipe = next(path for path in RECIPES if path.stem == name)
    changes = [
        f"data.train='lines:{reference_data.resolve()}/text/{table}'",
        "evaluation.max_rows=200",
        "data.cache=''",
    ]
    result = train(load_config(recipe, changes), out=tmp_path / "run", progress=Silent())
    assert result.fitted.report is None
    assert result.evaluation.metrics["accuracy"] > 0.7
