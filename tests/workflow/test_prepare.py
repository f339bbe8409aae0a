"""What becomes of rows on their way to the model: parts that hold nothing, and how many bad rows are tolerated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sensorium.core.errors import DataError
from sensorium.data.quarantine import Quarantine
from sensorium.tasks.registry import TASKS
from sensorium.workflow.config import config_from_text
from sensorium.workflow.prepare import prepare
from sensorium.workflow.pretraining import prepare_pretraining
from sensorium.workflow.tasks_config import load_any
from sensorium.workflow.tasks_prepare import prepare_tasks

MODEL = """
[inputs.text]
modality = "text"
encoder = "bag_of_words"
[target]
column = "label"
task = "classify"
[fusion]
width = 8
"""


def write_rows(path: Path, num_good: int, num_bad: int = 0) -> None:
    path.parent.mkdir(exist_ok=True)
    good = [json.dumps({"text": f"word{i % 7} here", "label": "ab"[i % 2]}) for i in range(num_good)]
    path.write_text("\n".join([*good, *["no json"] * num_bad]) + "\n")


def configured(folder: Path, data: str, model: str = MODEL):
    return config_from_text(f"[data]\n{data}\ncache = ''\n{model}", folder)


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("kind", ["no rows", "no targets", "all bad"])
def test_a_part_without_a_usable_row_is_refused_before_training(tmp_path, part, kind):
    write_rows(tmp_path / "train.jsonl", 300)
    rows = {
        "no rows": "text,label\n",
        "no targets": "text,label\nhello,\nthere,\n",
        "all bad": "text,label\na\nb\n",
    }
    (tmp_path / "other.csv").write_text(rows[kind])
    config = configured(tmp_path, f'train = "train.jsonl"\n{part} = "other.csv"')
    with pytest.raises(DataError, match=r"other\.csv") as caught:
        prepare(config)
    assert caught.value.exit_code == 3


def test_a_part_that_a_split_column_leaves_empty_is_refused(tmp_path):
    rows = "".join(f"word{i},{'a' if i % 2 else 'b'},train\n" for i in range(200)) + "x,,validation\n"
    (tmp_path / "t.csv").write_text("text,label,split\n" + rows)
    with pytest.raises(DataError, match=r"t\.csv: none of its 1 rows can be used \(1 of 1 rows without target"):
        prepare(configured(tmp_path, 'train = "t.csv"\nsplit_column = "split"'))


def test_a_pretraining_part_without_rows_is_refused(tmp_path):
    write_rows(tmp_path / "train.jsonl", 100)
    (tmp_path / "other.csv").write_text("text,label\n")
    (tmp_path / "c.toml").write_text(
        '[data]\ntrain = "train.jsonl"\nvalidation = "other.csv"\ncache = ""\n'
        '[inputs.text]\nmodality = "text"\nencoder = "transformer"\n[objectives]\nmasked = { text = 0.3 }\n'
    )
    with pytest.raises(DataError, match=r"other\.csv"):
        prepare_pretraining(load_any(tmp_path / "c.toml"), Quarantine())


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_the_tolerance_is_of_each_table(tmp_path, part):
    for name in ("train", "validation", "test"):
        write_rows(tmp_path / f"{name}.jsonl", 1000 if name != part else 10, num_bad=4 if name == part else 0)
    data = 'train = "train.jsonl"\nvalidation = "validation.jsonl"\ntest = "test.jsonl"'
    with pytest.raises(DataError, match=rf"{part}\.jsonl: 4 of 14 rows quarantined"):
        prepare(configured(tmp_path, data))


def test_the_tolerance_of_a_task_is_no_other_task_s(tmp_path):
    write_rows(tmp_path / "strict.jsonl", 100, num_bad=5)
    write_rows(tmp_path / "mild.jsonl", 100, num_bad=5)
    task = '[tasks.{0}.data]\ntrain = "{0}.jsonl"\nmax_bad_fraction = {1}\n[tasks.{0}.target]\ncolumn = "label"\n'
    inputs = '[inputs.text]\nmodality = "text"\nencoder = "bag_of_words"\n[fusion]\nwidth = 8\n[data]\ncache = ""\n'
    tail = 'task = "classify"\n'
    (tmp_path / "c.toml").write_text(inputs + task.format("strict", 0.01) + tail + task.format("mild", 0.5) + tail)
    with pytest.raises(DataError, match=r"strict\.jsonl: 5 of 105 rows quarantined"):
        prepare_tasks(load_any(tmp_path / "c.toml"))


def test_bad_rows_of_two_tables_of_one_name_are_all_listed(tmp_path):
    write_rows(tmp_path / "tr" / "t.jsonl", 300, num_bad=2)
    write_rows(tmp_path / "va" / "t.jsonl", 300, num_bad=2)
    config = configured(tmp_path, 'train = "tr/t.jsonl"\nvalidation = "va/t.jsonl"')
    quarantine = prepare(config, tmp_path).quarantine
    assert len(quarantine) == 4
    folder = tmp_path.resolve()
    expected = [f"{folder}/{side}/t.jsonl:{line}" for side in ("tr", "va") for line in (301, 302)]
    assert [bad.where for bad in quarantine] == expected
    listed = [json.loads(line) for line in (tmp_path / "bad_rows.jsonl").read_text().splitlines()]
    assert [(bad["table"], bad["where"]) for bad in listed] == [
        (f"{folder}/{side}/t.jsonl", f"t.jsonl:{line}") for side in ("tr", "va") for line in (301, 302)
    ]


TAGGED = MODEL.replace('encoder = "bag_of_words"', 'encoder = "token_features"\ntemplates = ["0[0]"]')


def list_rows(num_rows: int = 120) -> list[dict[str, object]]:
    return [{"text": ["good", f"w{i % 5}"], "label": ["yes", "no"][: 1 + i % 2] * 2} for i in range(num_rows)]


@pytest.mark.parametrize("task", sorted(TASKS))
def test_no_task_takes_a_list_for_a_text(tmp_path, task):
    """Words and tags are parted by blanks, texts are rows of their own, one label is refused by its column."""
    rows = list_rows() if task == "tag" else [row | {"text": f"w{i}"} for i, row in enumerate(list_rows())]
    for row in rows if task == "tag" else ():
        row["label"] = row["label"][:2]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = (TAGGED if task == "tag" else MODEL).replace("classify", task)
    if task == "retrieve":
        model = MODEL.replace('column = "label"\n', "").replace("classify", task) + "[inputs.label]\n"
        model += 'modality = "text"\nencoder = "bag_of_words"\n[fusion.alignment]\ninputs = ["text", "label"]\n'
    config = configured(tmp_path, 'train = "t.jsonl"', model)
    if task in ("classify", "retrieve"):
        with pytest.raises(DataError, match=r"label:? holds a list of \d .*where one text is meant"):
            prepare(config)
        return
    prepared = prepare(config)
    texts = {corpus.target_text(i) for corpus in prepared.corpora.values() for i in range(corpus.num_rows)}
    assert texts == ({"yes yes", "yes no"} if task == "tag" else {"yes", "no"})
    num_rows = sum(corpus.num_rows for corpus in prepared.corpora.values())
    assert num_rows == (120 if task == "tag" else 60 * 2 + 60 * 4)
    if task != "tag":  # rows of one cell stay on one side
        places = [{corpus.where(i) for i in range(corpus.num_rows)} for corpus in prepared.corpora.values()]
        assert not set.intersection(*places)


def test_a_list_in_an_input_of_one_text_is_refused_with_the_cure(tmp_path):
    rows = [{"text": ["two", "texts"], "label": "ab"[i % 2]} for i in range(20)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        DataError, match=r"t\.jsonl:1 text: holds a list of 2 .*'several = true' in its section reads all"
    ):
        prepare(configured(tmp_path, 'train = "t.jsonl"'))
    several = MODEL.replace('"bag_of_words"', '"bag_of_words"\nseveral = true')
    corpus = prepare(configured(tmp_path, 'train = "t.jsonl"', several)).train
    assert corpus.sample(0).inputs["text"] == ("two", "texts")


@pytest.mark.parametrize("part", ["validation", "test"])
def test_rows_of_a_part_for_which_another_table_is_named_are_counted(tmp_path, part):
    rows = "".join(f"word{i},{'a' if i % 2 else 'b'},train\n" for i in range(20))
    rows += "".join(f"held{i},a,{name}\n" for name in ("validation", "test") for i in range(3))
    (tmp_path / "t.csv").write_text("text,label,split\n" + rows)
    (tmp_path / "other.csv").write_text("text,label\nthat,a\nthis,b\n")
    told = f"3 table rows that 'split' gives to {part}, for which another table is named"
    prepared = prepare(configured(tmp_path, f'train = "t.csv"\nsplit_column = "split"\n{part} = "other.csv"'))
    assert told in str(prepared.train.left_out)
    assert prepared.corpora[part].num_rows == 2
