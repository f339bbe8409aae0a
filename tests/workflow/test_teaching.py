"""Teach, forget, taught: on a captioner that spells in BPE, through Python and the command line."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from sensorium import Sensorium
from sensorium.cli.main import main
from sensorium.core.errors import ModelError, UsageError
from sensorium.workflow.lessons import FILE, Lesson, Lessons, read_lessons, write_lessons

CONFIG = """
[data]
train = "captions.csv"
validation_fraction = 0.25
cache = ""
[inputs.photo]
modality = "image"
encoder = "cnn"
size = 8
channels = [4]
grid = 1
[target]
column = "caption"
task = "caption"
tokenizer = "{tokenizer}"
[fusion]
width = 16
[language]
scorers = ["transformer", "ngram"]
[language.transformer]
layers = 1
width = 16
heads = 2
[language.ngram]
order = 8
[training]
epochs = 1
"""
NAME = "zorbaxia hops here"


@pytest.fixture(scope="module", params=["character", "bpe"])
def captioner(request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    for name, color in (("red", (220, 30, 30)), ("blue", (30, 30, 220))):
        Image.new("RGB", (8, 8), color).save(folder / f"{name}.png")
    with (folder / "captions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "caption"])
        things = ("a jazzy box", "the quick door", "a very big car", "the lazy dog", "a fox", "some pumpkins")
        writer.writerows([f"{c}.png", f"{thing} of {c} there"] for c in ("red", "blue") for thing in things)
    (folder / "config.toml").write_text(CONFIG.format(tokenizer=request.param))
    return Sensorium.from_config(folder / "config.toml").fit(folder / "run").result.run


def photo(run: Path) -> str:
    return str(run.parent / "red.png")


def call(monkeypatch, capsys, *words: object):
    monkeypatch.setattr(sys, "argv", ["sensorium", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    printed = capsys.readouterr()
    return caught.value.code or 0, printed.out, printed.err


def tensors(model):
    return {name: tensor.clone() for name, tensor in model.predictor.model.state_dict().items()}


def test_a_taught_name_is_in_the_next_answer_and_gone_when_forgotten(captioner):
    model = Sensorium.load(captioner)
    before, tables = model.predict(photo=photo(captioner)), tensors(model)
    score = model.score(NAME, photo=photo(captioner))
    assert "zorbaxia" not in before.text
    lesson = model.teach(NAME, weight=300)
    assert lesson == Lesson("lesson-001", (NAME,), 300)
    assert model.generate(photo=photo(captioner)) == NAME
    assert model.score(NAME, photo=photo(captioner)) > score + 5
    model.forget("lesson-001")
    assert all(torch.equal(tensor, tables[name]) for name, tensor in tensors(model).items())
    assert model.score(NAME, photo=photo(captioner)) == score
    assert model.predict(photo=photo(captioner)) == before
    assert model.taught == ()


def test_sources_are_forgotten_one_by_one(captioner):
    model, other = Sensorium.load(captioner), Sensorium.load(captioner)
    model.teach("a red cat", source="cats")
    model.teach("a blue dog", "a blue bird", weight=2)
    model.forget("cats")
    other.teach("a blue dog", "a blue bird", weight=2)
    assert all(torch.equal(a, b) for a, b in zip(tensors(model).values(), tensors(other).values(), strict=True))
    assert [lesson.source for lesson in model.taught] == ["lesson-001"]


def test_what_was_taught_is_saved_beside_the_model(captioner, tmp_path):
    model = Sensorium.load(captioner)
    model.teach(NAME, weight=300)
    model.save(tmp_path / "model")
    again = Sensorium.load(tmp_path / "model")
    assert again.taught == model.taught
    assert again.generate(photo=photo(captioner)) == NAME
    again.forget("lesson-001")
    assert all(
        torch.equal(a, b)
        for a, b in zip(tensors(again).values(), tensors(Sensorium.load(captioner)).values(), strict=True)
    )
    assert model.generate(photo=photo(captioner)) == NAME  # saving has not made it forget


def test_the_commands_teach_list_and_forget(captioner, monkeypatch, capsys, tmp_path):
    (tmp_path / "names.txt").write_text(f"{NAME}\n\n{NAME}\n")
    words = ("teach", captioner, "--file", tmp_path / "names.txt", "--weight", 300, "--source", "names")
    code, out, _ = call(monkeypatch, capsys, *words, "--json")
    facts = json.loads(out)
    assert (code, facts["source"], facts["texts"], facts["weight"]) == (0, "names", [NAME, NAME], 300)
    code, out, _ = call(monkeypatch, capsys, "teach", captioner, "a red thing")
    assert (code, "taught 'lesson-001'" in out) == (0, True)
    code, out, _ = call(monkeypatch, capsys, "taught", captioner)
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["names", "lesson-001"]
    code, out, _ = call(monkeypatch, capsys, "predict", captioner, "--input", f"photo={photo(captioner)}", "--json")
    assert json.loads(out)["text"] == NAME
    code, out, _ = call(monkeypatch, capsys, "forget", captioner, "--source", "names")
    assert code == 0
    code, out, _ = call(monkeypatch, capsys, "forget", captioner, "--all", "--json")
    assert json.loads(out)["forgotten"] == ["lesson-001"]
    code, out, _ = call(monkeypatch, capsys, "taught", captioner, "--json")
    assert json.loads(out) == {"taught": []}
    code, out, _ = call(monkeypatch, capsys, "predict", captioner, "--input", f"photo={photo(captioner)}", "--json")
    assert json.loads(out)["text"] == Sensorium.load(captioner).generate(photo=photo(captioner))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("teach",), 2, "texts or --file"),
        (("teach", "a text", "--file", "x.txt"), 2, "texts or --file"),
        (("teach", "--file", "none.txt"), 3, "none.txt"),
        (("teach", "  "), 2, "nothing to teach"),
        (("teach", "a", "--weight", "0"), 2, "weight"),
        (("teach", "a", "--weight", "99999999"), 2, "weight"),
        (("teach", "a", "--source", " "), 2, "source"),
        (("forget",), 2, "--source ID or --all"),
        (("forget", "--source", "none"), 2, "nothing is taught as 'none'"),
        (("forget", "--source", "none", "--all"), 2, "--source ID or --all"),
    ],
)
def test_what_cannot_be_meant_is_said(captioner, monkeypatch, capsys, words, code, said):
    found, _, err = call(monkeypatch, capsys, words[0], captioner, *words[1:])
    assert (found, said in err) == (code, True), err
    assert not read_lessons(captioner / "model")


def test_words_outside_the_vocabulary_are_named(captioner):
    model = Sensorium.load(captioner)
    if model.predictor.model.tokenizer.name == "bpe":
        pytest.skip("bytes write anything")
    with pytest.raises(UsageError, match=r"cannot write 'Ωmega'.*bpe"):
        model.teach("a fox of Ωmega")
    assert model.taught == ()


@pytest.mark.parametrize("weight", [2.5, 2.0, True, "2"])
def test_a_weight_is_a_whole_number(captioner, weight):
    model = Sensorium.load(captioner)
    with pytest.raises(UsageError, match="a whole number"):
        model.predictor.teach("a fox", weight=weight)
    assert model.taught == ()


def test_a_source_is_taught_once(captioner):
    model = Sensorium.load(captioner)
    model.teach("a fox", source="one")
    with pytest.raises(UsageError, match="'one' is taught already"):
        model.teach("a dog", source="one")


def test_a_model_that_counts_nothing_says_so(shapes, tmp_path):
    model = Sensorium.from_config(shapes / "shapes.toml").fit(tmp_path / "run")
    with pytest.raises(ModelError, match=r"no scorer of this model can be taught.*'ngram'"):
        model.teach("yes")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"lessons": 3}', '{"lessons": [{"source": "a"}]}', "\x00"])
def test_a_damaged_file_of_lessons_is_said(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ModelError, match="what was taught"):
        read_lessons(tmp_path)


def test_lessons_are_written_and_read(tmp_path):
    lessons = Lessons().add(Lesson("ä", ("one", "zwei ß"), 3)).add(Lesson("lesson-007", ("x",)))
    write_lessons(lessons, tmp_path)
    assert read_lessons(tmp_path) == lessons
    assert lessons.new_source() == "lesson-008"
