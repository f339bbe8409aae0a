"""A scorer's name is its kind, or free where its section says the kind."""

import pytest

from sensorium.core.config import parse_toml
from sensorium.core.errors import ConfigError
from sensorium.language.crf import Crf
from sensorium.model.config import parse

TEXT = """
[inputs.words]
modality = "text"
encoder = "token_features"
[inputs.letters]
modality = "text"
encoder = "token_features_lstm"
rate_factor = 0.5
[target]
column = "tags"
task = "tag"
[language]
scorers = ["plain", "crf"]
mix = "chain"
[language.plain]
scorer = "crf"
inputs = ["words"]
[language.crf]
inputs = ["letters"]
"""


def read(text: str):
    return parse(*parse_toml(text, "x.toml"), default_tokenizer={"tag": "tag"})


def test_two_scorers_of_one_kind_have_options_of_their_own():
    config = read(TEXT)
    assert [(name, choice.kind, choice.scorer) for name, choice in config.scorers.items()] == [
        ("plain", "crf", Crf),
        ("crf", "crf", Crf),
    ]
    assert [choice.options.inputs for choice in config.scorers.values()] == [("words",), ("letters",)]
    assert config.inputs["letters"].section.rate_factor == 0.5


def test_a_model_of_fewer_inputs_keeps_the_scorers_that_read_them():
    only = read(TEXT).only(["letters"])
    assert list(only.scorers) == list(only.language.scorers) == ["crf"]
    weighted = read(TEXT.replace('mix = "chain"', 'mix = "chain"\nweights = [0.25, 0.75]'))
    assert weighted.only(["letters"]).language.weights == (0.75,)
    assert weighted.only(["letters", "words"]).language.weights == (0.25, 0.75)


def test_a_dumped_config_is_read_back():
    config = read(TEXT)
    values = config.dump()
    assert values["language"]["plain"]["scorer"] == "crf"
    assert "scorer" not in values["language"]["crf"]
    again = parse(values, parse_toml("")[1], default_tokenizer={"tag": "tag"})
    assert again == config


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('scorer = "crf"\n', "", r"x\.toml:13:1: no scorer 'plain'.*\[language\.plain\] scorer = "),
        ('scorer = "crf"', 'scorer = "crff"', r"x\.toml:16:1: no scorer 'crff' \(did you mean 'crf'"),
        ('scorer = "crf"', "scorer = 3", r"'language\.plain\.scorer' names a kind"),
        (
            'inputs = ["words"]',
            'input = ["words"]',
            r"x\.toml:17:1: unknown key 'language\.plain\.input'.*'inputs'",
        ),
        ('inputs = ["words"]', 'scorrer = "crf"', r"unknown key 'language\.plain\.scorrer'.*did you mean 'scorer'"),
        ('["words"]', '["word"]', r"'language\.plain\.inputs' names no input: 'word'.*words"),
        ('"plain", "crf"]', '"pl.ain", "crf"]', r"language\.plain|'pl\.ain' cannot name a scorer"),
        ('"plain", "crf"]', '"plain", "ngram", "crf"]', r"x\.toml:14:1.*joins CRFs, and 'ngram' is none"),
        ("[language.plain]", "[language.plan]", r"unknown key 'language\.plan'.*did you mean 'plain'"),
        ("rate_factor = 0.5", "rate_factor = 0", r"rate_factor"),
    ],
)
def test_a_slip_is_named_with_its_place(old, new, message):
    assert old in TEXT
    with pytest.raises(ConfigError, match=message):
        read(TEXT.replace(old, new))
