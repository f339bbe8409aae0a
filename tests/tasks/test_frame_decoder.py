"""Transcripts from frames: every tokenizer's tokens become its text, and every setting is obeyed or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sensorium.core.errors import ConfigError, UsageError
from sensorium.core.vocabulary import PAD, UNK
from sensorium.data.tokenizers import Tokenizer
from sensorium.data.tokenizers.registry import build
from sensorium.decoding.config import CTCDecoding
from sensorium.language.ctc import CTC
from sensorium.language.neighbours import Neighbours
from sensorium.language.ngram import Ngram
from sensorium.tasks.transcribe import FrameDecoder, spelled_by_frames
from sensorium.workflow.config import config_from_text

TEXTS = ["the cat sat on the mat", "café in the morning, please", "the dog sat"] * 5
FITTED = ("character", "word", "whitespace", "bpe", "label", "tag")


def fitted(name: str) -> Tokenizer:
    return build(name).fit(TEXTS)


def frames(ids: list[int], num_classes: int, sureness: float = 20.0) -> NDArray[np.float32]:
    """Frames that say these tokens, one each, with a blank between two that are equal."""
    said: list[int] = []
    for token in ids:
        said += [PAD, token] if said and said[-1] == token else [token]
    y_FV = np.full((len(said), num_classes), -sureness)
    y_FV[np.arange(len(said)), said] = 0
    return (y_FV - np.log(np.exp(y_FV).sum(1, keepdims=True))).astype(np.float32)


@pytest.mark.parametrize("width", [1, 10])
@pytest.mark.parametrize("name", FITTED)
def test_tokens_read_as_their_tokenizer_decodes_them(name: str, width: int) -> None:
    tokenizer = fitted(name)
    decoder = FrameDecoder(tokenizer, CTCDecoding(width=width), [])
    for text in TEXTS[:3]:
        ids = tokenizer.encode(text)
        found = decoder(frames(ids, len(tokenizer.vocab)), 0.02)
        assert found.text == tokenizer.decode(ids).strip()
        assert " ".join(word.text for word in found.words).split() == found.text.split()
        assert all(a.end_s <= b.start_s for a, b in zip(found.words, found.words[1:], strict=False))


@pytest.mark.parametrize("width", [1, 10])
def test_the_unknown_word_is_written_only_where_it_is_allowed(width: int) -> None:
    tokenizer = build("character").fit(["abc abc"])
    ids = [tokenizer.vocab.id("a"), UNK, tokenizer.vocab.id("b")]
    log_y_FV = frames(ids, len(tokenizer.vocab), sureness=3.0)
    log_y_FV[1, tokenizer.vocab.id("c")] += 2.5
    assert FrameDecoder(tokenizer, CTCDecoding(width=width), [])(log_y_FV, 0.02).text == "acb"


HOT = CTCDecoding(width=10, hot_words={"zebra": 5.0})


def test_hot_words_that_cannot_be_written_are_named() -> None:
    tokenizer = build("character").fit(["hi", "lo"])
    with pytest.raises(UsageError, match="hot word zebra: the model has no letters z, e, b, r, a"):
        FrameDecoder(tokenizer, HOT, [])
    for name in ("word", "bpe", "label"):
        with pytest.raises(UsageError, match="hot word zebra"):
            FrameDecoder(build(name).fit([*TEXTS, "zebra"]), HOT, [])


def test_models_that_read_their_inputs_beside_ctc_write_freely() -> None:
    assert spelled_by_frames([CTC])
    assert spelled_by_frames([CTC, Ngram])
    assert not spelled_by_frames([CTC, Neighbours]), "neighbours goes by what a row is conditioned on"
    assert not spelled_by_frames([Ngram])


CONFIG = """
[data]
train = "t.csv"
[inputs.sound]
modality = "audio"
encoder = "cnn"
[target]
column = "text"
task = "transcribe"
[fusion]
width = 8
[language]
scorers = {scorers}
mix = "product"
[decoding]
{settings}
"""

UNREAD: dict[str, Any] = {
    "max_tokens": "max_tokens = 2",
    "min_tokens": "min_tokens = 2",
    "search": 'search = "beam"',
    "beam_width": 'search = "beam"\nbeam_width = 8\nn_best = 4',
    "repetition_penalty": "repetition_penalty = 9.0",
    "no_repeat_ngram": "no_repeat_ngram = 1",
    "consensus": "[decoding.consensus]\ndraws = 8",
}


@pytest.mark.parametrize("settings", UNREAD.values(), ids=UNREAD)
@pytest.mark.parametrize("scorers", [["ctc"], ["ctc", "ngram"]], ids=str)
def test_settings_that_frames_do_not_read_are_refused(settings: str, scorers: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not read: this model is searched frame by frame"):
        config_from_text(CONFIG.format(scorers=str(scorers).replace("'", '"'), settings=settings), tmp_path)


def test_settings_that_are_read_are_taken(tmp_path: Path) -> None:
    for scorers, settings in (
        ('["ctc", "ngram"]', "allow_unknown = true\n[decoding.ctc]\nwidth = 7"),
        ('["ngram", "transformer"]', UNREAD["beam_width"]),
        ('["ctc", "transformer"]', UNREAD["max_tokens"]),
    ):
        config_from_text(CONFIG.format(scorers=scorers, settings=settings), tmp_path)
    unread = CONFIG.format(scorers='["ctc", "transformer"]', settings="[decoding.ctc]\nwidth = 7")
    with pytest.raises(ConfigError, match="'ctc' is not read: this model is searched token by token"):
        config_from_text(unread, tmp_path)


@pytest.mark.parametrize("setting", ["alpha = 0.3", "beta = 2.0"])
def test_weights_of_counts_want_a_scorer_that_counts(setting: str, tmp_path: Path) -> None:
    settings, alone = f"[decoding.ctc]\n{setting}", CONFIG.replace('mix = "product"\n', "")
    config_from_text(CONFIG.format(scorers='["ctc", "ngram"]', settings=settings), tmp_path)
    with pytest.raises(ConfigError, match=f"'{setting[:4].strip()}.*' is not read: no scorer that counts"):
        config_from_text(alone.format(scorers='["ctc"]', settings=settings), tmp_path)
    config_from_text(alone.format(scorers='["ctc"]', settings="[decoding.ctc]\nwidth = 3"), tmp_path)


@pytest.mark.parametrize("name", ["hf", "published"])
def test_borrowed_tokenizers_read_as_they_decode(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "language")
    from published_writers import END, TEXTS, save_tokenizer

    save_tokenizer(tmp_path, END)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    tokenizer = build(name, {"source": str(tmp_path)}).fit(TEXTS)
    for width in (1, 10):
        decoder = FrameDecoder(tokenizer, CTCDecoding(width=width), [])
        for text in TEXTS[:3]:
            ids = tokenizer.encode(text)
            found = decoder(frames(ids, len(tokenizer.vocab)), 0.02)
            assert found.text == text
            assert [word.text for word in found.words] == text.split()


@pytest.mark.parametrize("width", [1, 10])
def test_frames_that_can_only_say_the_unknown_word_say_nothing(width: int) -> None:
    tokenizer = build("character").fit(["ab"])
    log_y_FV = np.full((3, len(tokenizer.vocab)), -np.inf, np.float32)
    log_y_FV[:, UNK] = 0
    assert FrameDecoder(tokenizer, CTCDecoding(width=width), [])(log_y_FV, 0.02).no_speech


@pytest.mark.parametrize("width", [1, 10])
def test_no_frame_that_rules_out_a_class_stops_a_transcription(width: int) -> None:
    tokenizer, random = build("character").fit(["ab ab"]), np.random.default_rng(0)
    decoder, num_classes = FrameDecoder(tokenizer, CTCDecoding(width=width), []), len(tokenizer.vocab)
    for trial in range(150):
        logit_FV = 3 * random.normal(size=(random.integers(1, 5), num_classes))
        logit_FV[random.random(logit_FV.shape) < (0.2, 0.5, 0.8)[trial % 3]] = -np.inf
        if trial % 2:
            logit_FV[:, PAD] = -np.inf
        logit_FV[:, UNK] = 0  # some class is possible everywhere
        y_FV = np.exp(logit_FV)
        with np.errstate(divide="ignore"):
            log_y_FV = np.log(y_FV / y_FV.sum(1, keepdims=True)).astype(np.float32)
        found = decoder(log_y_FV, 0.02)
        assert " ".join(word.text for word in found.words) == " ".join(found.text.split())
