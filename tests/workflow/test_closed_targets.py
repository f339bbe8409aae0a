"""Answers that are chosen among are of one line for all: tokenizer, training, known answers, references, scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from sensorium import Sensorium
from sensorium.data.tokenizers.registry import TOKENIZERS
from sensorium.workflow.config import config_from_text
from sensorium.workflow.prepare import Prepared, prepare

SPELLINGS = ["pos", " pos", "pos ", "\u00a0pos", "pos\n", "very bad", "very  bad", "very\u00a0bad", " very\tbad"]
CONFIG = """
[data]
train = "train.jsonl"
validation = "train.jsonl"
cache = ""
[inputs.text]
modality = "text"
encoder = "bag_of_words"
[target]
column = "label"
task = "{task}"
tokenizer = "{tokenizer}"
{more}
[fusion]
width = 8
[language]
scorers = ["ngram"]
[evaluation]
report = false
baselines = false
"""
SIGNS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def published(folder: Path) -> str:
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(SIGNS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    engine.train_from_iterator(SPELLINGS, trainer)
    engine.save(str(folder / "tokenizer.json"))
    of_class = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(SIGNS | of_class), encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    return f'source = "{folder}"'


def config_of(folder: Path, task: str, tokenizer: str, more: str = ""):
    if tokenizer == "hf":
        pytest.importorskip("transformers")
    if tokenizer in ("hf", "published"):
        more += "\n" + published(folder)
    rows = [{"text": f"word{i % 5}", "label": SPELLINGS[i % len(SPELLINGS)]} for i in range(90)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "train.jsonl").write_text(lines, encoding="utf-8")
    return config_from_text(CONFIG.format(task=task, tokenizer=tokenizer, more=more), folder)


def prepared_of(folder: Path, task: str, tokenizer: str, more: str = "") -> Prepared:
    return prepare(config_of(folder, task, tokenizer, more))


@pytest.mark.parametrize("task", ["classify", "answer"])
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_blanks_make_no_second_answer_with_any_tokenizer(tmp_path, tokenizer, task):
    prepared = prepared_of(tmp_path, task, tokenizer)
    corpus, tokens = prepared.train, prepared.model.tokenizer
    assert prepared.answers == ["pos", "very bad"]
    texts = [corpus.target_text(row) for row in range(corpus.num_rows)]
    assert set(texts) == {"pos", "very bad"}
    learned = {tuple(ids[1:-1]) for ids in corpus.targets()}
    assert learned == {tuple(tokens.encode(text)) for text in ("pos", "very bad")}
    assert tokens.num_unknown == 0


def test_a_closed_text_is_of_one_line_and_an_open_one_as_it_stands(tmp_path):
    assert len(prepared_of(tmp_path, "write", "character", "closed = true").answers) == 2
    for task, more in (
        ("write", ""),
        ("caption", ""),
        ("classify", "closed = false"),
        ("answer", "closed = false"),
    ):
        prepared = prepared_of(tmp_path, task, "bpe", more)
        texts = [prepared.train.target_text(row) for row in range(9)]
        assert texts == SPELLINGS, task
        learned = [prepared.model.tokenizer.decode(ids) for ids in list(prepared.train.targets())[:9]]
        assert learned == SPELLINGS, task


def test_scores_and_lessons_are_of_the_same_form(tmp_path):
    config = config_of(tmp_path, "classify", "bpe")
    model = Sensorium(config).fit(tmp_path / "run")
    assert model.evaluate(metrics=["accuracy"]).metrics["accuracy"] == pytest.approx(5 / 9)
    assert model.score(" pos\u00a0", text="word1") == model.score("pos", text="word1")
    assert model.score("very  bad", text="word1") == model.score("very bad", text="word1")
    model.teach(" very   bad", weight=1000, source="one")
    taught = model.score("very bad", text="word1")
    model.forget("one")
    model.teach("very bad", weight=1000, source="other")
    assert model.score("very bad", text="word1") == taught
