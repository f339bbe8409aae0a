"""`sensorium ngram` as a user meets it."""

import json

import pytest
from typer.testing import CliRunner

from sensorium.cli.main import app
from sensorium.core.errors import UsageError

run = CliRunner().invoke


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat\nthe dog sat\nthe cat ran\n")
    return path


@pytest.mark.parametrize("name", ["model", "model.arpa", "model.arpa.gz"])
def test_a_model_is_trained_and_judges(name, text, tmp_path):
    out = tmp_path / name
    done = run(app, ["ngram", "train", str(text), "--order", "2", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert (facts["order"], facts["vocabulary"], facts["tokenizer"]) == (2, 9, "whitespace")
    done = run(app, ["ngram", "score", str(out), str(text), "--lines", "--json"])
    facts = json.loads(done.stdout)
    assert (facts["sentences"], facts["tokens"], facts["unknown"], len(facts["lines"])) == (3, 12, 0, 3)
    assert 1 < facts["perplexity_with_oov"] == facts["perplexity_without_oov"] < 9
    done = run(app, ["ngram", "score", str(out), str(text), "--lines"])
    assert len([line for line in done.stdout.splitlines() if "\t" in line]) == 3
    assert "perplexity_without_oov" in done.stdout


def test_pruning_and_little_memory_are_asked_for(text, tmp_path):
    words = ["ngram", "train", str(text), "--order", "3", "--memory-mib", "1", "--prune", "0 0 1", "--json"]
    done = run(app, [*words, "--out", str(tmp_path / "small")])
    # "the cat" and "<s> the" stay before words seen once; of trigrams, those seen twice.
    assert json.loads(done.stdout)["ngrams"][2] == 1


def test_what_exists_is_not_replaced_unasked(text, tmp_path):
    words = ["ngram", "train", str(text), "--out", str(tmp_path / "model")]
    assert run(app, words).exit_code == 0
    again = run(app, words)
    assert isinstance(again.exception, UsageError)
    assert "--force" in str(again.exception)
    assert run(app, [*words, "--force"]).exit_code == 0


def test_thresholds_are_numbers(text, tmp_path):
    done = run(app, ["ngram", "train", str(text), "--out", str(tmp_path / "model"), "--prune", "0 x"])
    assert isinstance(done.exception, UsageError)
