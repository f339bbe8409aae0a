from pathlib import Path

import pytest

from sensorium.core.config import write_toml
from sensorium.core.errors import ConfigError, DataError
from sensorium.data.word_vectors import WordVectors
from sensorium.workflow.config import config_from_text, load_config

BASE = """[data]
train = "t.csv"

[inputs.photo]
modality = "image"
encoder = "cnn"

[target]
column = "answer"
"""


def parse(text: str):
    return config_from_text(text, Path("/somewhere"), "my.toml")


def test_defaults_are_filled_in_and_written_out():
    config = parse(BASE)
    assert config.model.target.task == "answer"
    assert config.model.target.tokenizer == "word"
    assert config.model.inputs["photo"].column == "photo"
    again = parse(write_toml(config.dump()))
    assert again.dump() == config.dump()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('train = "t.csv"', 'trian = "t.csv"', r"my.toml:2:1: unknown key 'data.trian' \(did you mean 'train'\?\)"),
        ("[data]", "[dtaa]", r"my.toml:1:2: unknown key 'dtaa' \(did you mean 'data'\?\)"),
        ('encoder = "cnn"', 'encoder = "cn"', r"my.toml:6:1: no encoder 'image.cn' \(did you mean 'image.cnn'\?\)"),
        ('encoder = "cnn"', 'encoder = "cnn"\nsizes = 3', r"my.toml:7:1: unknown key 'inputs.photo.sizes'.*'size'"),
        ('encoder = "cnn"', 'encoder = "cnn"\nsize = -3', r"my.toml:7:1: 'inputs.photo.size': .*greater"),
        (
            'modality = "image"',
            'modality = "imgae"',
            r"my.toml:5:1: no modality 'imgae' \(did you mean 'image'\?\)",
        ),
        ('column = "answer"', 'column = "answer"\ntask = "anwser"', r"my.toml:10:1: no task 'anwser'.*'answer'"),
        ('column = "answer"', 'column = "answer"\n[training]\nepoch = 3', r"my.toml:11:1: unknown key.*'epochs'"),
        ('column = "answer"', 'column = "answer"\n[training]\nepochs = "x"', r"my.toml:11:1: 'training.epochs'"),
        (
            'column = "answer"',
            'column = "answer"\n[fusion]\nfeatures = "conct"',
            r"my.toml:11:1: no fusion.*'concat'",
        ),
        ('column = "answer"', 'column = "answer"\n[language]\nscorers = []', r"my.toml:11:1: 'language.scorers'"),
        ('column = "answer"', 'column = "answer"\n[language.ngram]\norder = 3', r"my.toml:10:2: unknown key"),
        ('column = "answer"', "", "'target.column' is missing"),
        ('[inputs.photo]\nmodality = "image"\nencoder = "cnn"', "", "no inputs"),
        (
            "[target]",
            "[fusoin]\nwidth = 3\n[target]",
            r"my.toml:8:2: unknown key 'fusoin' \(did you mean 'fusion'\?\)",
        ),
        ('train = "t.csv"', "train = ", r"my.toml:2:9"),
    ],
)
def test_every_mistake_is_named_with_its_place(old, new, message):
    assert old in BASE
    with pytest.raises(ConfigError, match=message):
        parse(BASE.replace(old, new))


def test_set_overrides_and_is_validated(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(BASE)
    config = load_config(path, ["training.seconds=5", "inputs.photo.size=32", "data.test=x.csv"])
    assert (config.training.seconds, config.model.inputs["photo"].options.size, config.data.test) == (
        5,
        32,
        "x.csv",
    )
    with pytest.raises(ConfigError, match="unknown key 'training.sconds'"):
        load_config(path, ["training.sconds=5"])
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        load_config(path, ["training.seconds"])


def test_specs_are_relative_to_the_config():
    config = parse(BASE)
    assert config.resolve("t.csv") == "/somewhere/t.csv"
    assert config.resolve("folder:a/b") == "folder:/somewhere/a/b"
    assert config.resolve("/abs/t.csv") == "/abs/t.csv"


def test_vectors_are_read_once_while_their_file_is_as_it_was(tmp_path, monkeypatch):
    read, seen = WordVectors.read, []
    monkeypatch.setattr(WordVectors, "read", lambda path: seen.append(path) or read(path))
    path = tmp_path / "v.txt"
    path.write_text("the 0.1 0.2\n", encoding="utf-8")
    text = BASE + '\n[evaluation]\nvectors = "v.txt"\n'
    assert [config_from_text(text, tmp_path).word_vectors().words for _ in range(3)] == [("the",)] * 3
    assert len(seen) == 1
    path.write_text("the 0.1 0.2\ncat 1 0\n", encoding="utf-8")
    assert config_from_text(text, tmp_path).word_vectors().words == ("the", "cat")
    path.unlink()
    with pytest.raises(DataError):
        config_from_text(text, tmp_path).word_vectors()
