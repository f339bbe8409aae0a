"""Runs are judged alike on both sides: references and answers, models and baselines, many rows and few."""

from __future__ import annotations

import csv
import json
import math
import random
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sensorium import Sensorium
from sensorium.workflow.prepare import framed_targets
from sensorium.workflow.train import RunResult

GOOD, BAD = ["good", "great", "fine", "nice"], ["bad", "awful", "poor", "dull"]


def write(path: Path, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


def fitted(folder: Path, config: dict[str, Any]) -> tuple[Sensorium, RunResult, dict[str, Any]]:
    config.setdefault("evaluation", {}).setdefault("report", False)
    config.setdefault("data", {}).setdefault("cache", "")
    model = Sensorium.from_config(config, folder=folder).fit(folder / "run")
    result = model.result
    assert isinstance(result, RunResult)
    return model, result, json.loads((folder / "run" / "evaluation.json").read_text(encoding="utf-8"))


def labelled(spell, number: int = 120) -> list[tuple[str, str]]:
    rng = random.Random(0)
    return [
        (" ".join(rng.choices(GOOD if i % 2 else BAD, k=4)), spell("très bien" if i % 2 else "neg", i))
        for i in range(number)
    ]


SPELLINGS = {
    "plain": lambda label, i: label,
    "blank before": lambda label, i: " " + label,
    "blank behind": lambda label, i: label + " ",
    "wide": lambda label, i: label.replace(" ", "\u00a0 "),
    "decomposed": lambda label, i: unicodedata.normalize("NFD", label),
    "mixed": lambda label, i: " " * (i % 3) + label + " " * (i % 5 // 2),
}
NAIVE = {
    "inputs": {"text": {"modality": "text", "encoder": "bag_of_words"}},
    "target": {"column": "label", "task": "classify"},
    "language": {"scorers": ["naive_bayes"]},
    "fusion": {"width": 8},
}


@pytest.fixture(scope="module")
def by_spelling(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sensorium]:
    folder = tmp_path_factory.mktemp("spelled")
    for name, spell in SPELLINGS.items():
        write(folder / f"{name}.csv", ("text", "label"), labelled(spell))
    return folder, fitted(folder, {"data": {"train": "plain.csv"}, **NAIVE})[0]


@pytest.mark.parametrize("name", SPELLINGS)
def test_how_a_label_is_spelled_in_its_cell_is_no_mistake(by_spelling, name):
    folder, model = by_spelling
    assert model.evaluate(folder / f"{name}.csv").metrics["accuracy"] == 1
    assert model.evaluate(folder / f"{name}.csv", metrics=["exact_match", "wer", "cer"]).metrics["wer"] == 0


def test_two_labels_with_blanks_in_all_places_are_two_classes(tmp_path):
    write(tmp_path / "train.csv", ("text", "label"), labelled(SPELLINGS["mixed"]))
    model, result, facts = fitted(tmp_path, {"data": {"train": "train.csv"}, **NAIVE})
    assert len(model.predictor.answers) == 2
    assert facts["metrics"]["accuracy"] == 1
    shares = np.bincount([text.strip() == "neg" for texts in result.evaluation.right for text in texts])
    assert facts["baselines"][0]["metrics"]["accuracy"] in list(shares / shares.sum())


@pytest.mark.parametrize(
    ("tokenizer", "text"),
    [
        ("word", "C’est l’été , n’est-ce pas ?"),
        ("word", "The Dog’s ball"),
        ("bpe", " Two  dogs\u00a0run "),
        ("character", "e\u0301te\u0301  noir"),
        ("whitespace", "a  b\tc"),
        ("label", " Two  Dogs "),
    ],
)
def test_a_model_that_writes_exactly_what_its_tokenizer_writes_is_right(tokenizer, text):
    from sensorium.data.tokenizers import build
    from sensorium.evaluation.comparable import comparable_by
    from sensorium.evaluation.registry import METRICS, load_metric

    tokens = build(tokenizer).fit([text])
    comparable = comparable_by(tokens)
    said = comparable(tokens.decode(tokens.encode(text)))
    assert said == comparable(text) == comparable(said)
    for name in ("accuracy", "exact_match", "bleu1@13a", "rouge_l", "wer", "cer"):
        assert name.partition("@")[0] in METRICS
        perfect = {"wer": 0, "cer": 0, "bleu1@13a": 100}.get(name, 1)
        assert load_metric(name)([said], [[comparable(text)]]) == pytest.approx(perfect), name


def test_the_majority_of_captions_is_judged_by_the_references_that_the_model_is(tmp_path):
    said = ["a dog runs in the green park", "a brown dog is running outside", "the dog plays with a red ball"]
    rng = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(tmp_path / f"{i}.png")
    rows = [(f"{i}.png", text) for i in range(20) for text in said]
    write(tmp_path / "train.csv", ("photo", "caption"), rows[:30])
    write(tmp_path / "test.csv", ("photo", "caption"), rows[30:])
    (tmp_path / "vectors.txt").write_text("dog 1 0\nball 0 1\n")
    config = {
        "data": {"train": "train.csv", "test": "test.csv"},
        "inputs": {"photo": {"modality": "image", "encoder": "cnn", "size": 8, "channels": [4], "grid": 1}},
        "target": {"column": "caption", "task": "caption"},
        "fusion": {"width": 8},
        "language": {"scorers": ["ngram"]},
        "evaluation": {"metrics": ["embedding_similarity", "bleu4"], "vectors": "vectors.txt"},
    }
    _, result, facts = fitted(tmp_path, config)
    majority = facts["baselines"][0]
    assert majority["metrics"]["bleu4"] == facts["metrics"]["bleu4"] == 100
    assert majority["metrics"]["embedding_similarity"] == pytest.approx(1)
    assert majority["difference"]["p"] == 1
    assert majority["seconds"] is None
    assert len(result.evaluation.predictions) == 10


def test_answers_that_are_one_text_to_the_tokenizer_are_one_candidate(tmp_path):
    rows = [("is it true", "yes")] * 30 + [("is it true", "Yes ")] * 10 + [("is it false", "No")] * 40
    random.Random(0).shuffle(rows)
    write(tmp_path / "train.csv", ("q", "a"), rows)
    config = {
        "data": {"train": "train.csv"},
        "inputs": {"q": {"modality": "text", "encoder": "bag_of_words"}},
        "target": {"column": "a", "task": "answer"},
        "language": {"scorers": ["naive_bayes"]},
    }
    model, _, facts = fitted(tmp_path, config)
    assert sorted(model.predictor.answers) == ["No", "yes"]
    answer = model.predict(q="is it true")
    assert answer.text == "yes"
    assert [text for text, _ in answer.alternatives] == ["yes", "No"]
    assert answer.probability > 0.9
    assert facts["metrics"]["accuracy"] == 1
    model.predictor.answers.append("YES")  # as models saved before may have it
    assert model.predict(q="is it true").probability == pytest.approx(answer.probability)


def tagged(number: int, *more: tuple[str, str]) -> list[tuple[str, str]]:
    rng = random.Random(1)
    tag_of = {"dog": "B-A", "cat": "B-A", "runs": "O", "the": "O", ",": "O"}
    rows = []
    for _ in range(number):
        words = [rng.choice(["dog", "cat", "runs", "the"]) for _ in range(rng.randrange(3, 6))]
        words.insert(2, ",")
        rows.append((" ".join(words).replace(" ,", ","), " ".join(tag_of[word] for word in words)))
    return [*rows, *more]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sensorium, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("tagged")
    write(folder / "train.csv", ("words", "tags"), tagged(60))
    write(folder / "test.csv", ("words", "tags"), tagged(20, ("dog " * 12, "B-A " * 12)))
    text = {"modality": "text", "encoder": "lstm", "hidden": 8, "embedding": 8, "max_tokens": 10}
    config = {
        "data": {"train": "train.csv", "test": "test.csv"},
        "inputs": {"words": text},
        "target": {"column": "tags", "task": "tag", "max_tokens": 10},
        "fusion": {"width": 16},
        "language": {"scorers": ["crf"]},
        "training": {"max_steps": 60, "learning_rate": 0.02},
    }
    model, _, facts = fitted(folder, config)
    return folder, model, facts


def test_one_long_sentence_ends_no_evaluation_and_its_untagged_tokens_are_wrong(tagger):
    _, _, facts = tagger
    tokens = sum(len(tags.split()) for _, tags in tagged(20)) + 12
    assert facts["metrics"]["token_accuracy"] == pytest.approx(1 - 2 / tokens)
    # The majority splits as the input's tokenizer does, comma and all.
    assert facts["baselines"][0]["metrics"]["token_accuracy"] == pytest.approx(1 - 2 / tokens)


def test_a_tagger_is_judged_without_its_text_too(tagger):
    folder, model, _ = tagger
    shown, hidden = model.evaluate_missing(folder / "test.csv")
    assert shown.evaluation.metrics["span_f1"] > 0.9
    assert hidden.evaluation.metrics["token_accuracy"] == 0
    assert hidden.evaluation.metrics["perplexity"] == math.inf


@pytest.mark.parametrize(("number", "sure"), [(1, False), (2, False), (5, False), (20, True)])
def test_a_handful_of_judged_rows_is_never_sure(tmp_path, number, sure):
    write(tmp_path / "train.csv", ("text", "label"), [*labelled(SPELLINGS["plain"], 40), ("bad", "neg")])
    rows = [(text, label) for text, label in labelled(SPELLINGS["plain"], 2 * number) if label != "neg"]
    write(tmp_path / "test.csv", ("text", "label"), rows)
    _, _, facts = fitted(tmp_path, {"data": {"train": "train.csv", "test": "test.csv"}, **NAIVE})
    assert facts["metrics"]["accuracy"] == 1
    assert facts["baselines"][0]["metrics"]["accuracy"] == 0
    assert (facts["baselines"][0]["difference"]["p"] < 0.05) == sure


def test_free_writing_is_tested_against_its_scorers_by_likelihood(tmp_path):
    rng = random.Random(2)
    lines = [" ".join(rng.choices("abcd", k=6)) for _ in range(80)]
    (tmp_path / "t.txt").write_text("\n".join(lines) + "\n")
    config = {
        "data": {"train": "lines:t.txt"},
        "inputs": {},
        "target": {"column": "text", "task": "write"},
        "language": {"scorers": ["ngram", "hmm"]},
    }
    _, result, facts = fitted(tmp_path, config)
    assert {b["name"] for b in facts["baselines"]} == {"ngram alone", "hmm alone"}
    for baseline in facts["baselines"]:
        assert 0 < baseline["difference"]["p"] <= 1
        assert baseline["seconds"] is None  # it was fitted with the others: no time is its own
    rows = list(result.evaluation.likelihoods.values())
    nats, tokens = math.fsum(nll for nll, _ in rows), sum(num for _, num in rows)
    assert facts["metrics"]["perplexity"] == pytest.approx(math.exp(nats / tokens))


@pytest.mark.parametrize(
    ("sign", "told"), [("startseq {} endseq", True), ("<start> {} <end>", True), ("{}", False)]
)
def test_signs_of_tutorials_are_named_and_earn_nothing(tmp_path, sign, told):
    rows = [("red", "a red ball"), ("blue", "the blue box is here"), ("green", "some green grass")] * 12
    write(tmp_path / "train.csv", ("colour", "caption"), [(colour, sign.format(text)) for colour, text in rows])
    config = {
        "data": {"train": "train.csv"},
        "inputs": {"colour": {"modality": "text", "encoder": "bag_of_words"}},
        "target": {"column": "caption", "task": "caption"},
        "language": {"scorers": ["ngram"]},
    }
    _, result, _ = fitted(tmp_path, config)
    assert ("the model adds signs of its own" in framed_targets(result.prepared.train)) == told
    assert not any("start" in text or "end" in text.split() for text in result.evaluation.said)
    assert all(
        "startseq" not in text and "start" not in text for texts in result.evaluation.right for text in texts
    )
    plain = {text for _, text in rows}
    assert {text for texts in result.evaluation.right for text in texts} <= plain
