"""Sound in, text out: a small CTC model trained end to end, silence, hot words, times, files and the command."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import sensorium
from sensorium.cli.explanation import print_explanation
from sensorium.cli.main import app
from sensorium.core.errors import UsageError
from sensorium.data.synthesis.speech import write_wav
from sensorium.decoding.ctc_alignment import TimedWord
from sensorium.evaluation.metrics_error_rate import character_error_rate
from sensorium.tasks.transcription import Transcription
from sensorium.training.progress import Silent
from sensorium.workflow.config import load_config
from sensorium.workflow.explaining import explain_answer
from sensorium.workflow.predictor import Predictor
from sensorium.workflow.train import train
from sensorium.workflow.transcript import cues, written

RATE_HZ = 8000
PITCH_HZ = {"a": 500, "b": 1000, "c": 2000}
CONFIG = """
[data]
train = "tones.csv"
validation_fraction = 0.1
cache = ""

[inputs.sound]
modality = "audio"
encoder = "gru"
rate_hz = 8000
num_mels = 20
hop_ms = 20
stack = 2
stride = 2
hidden = 32
layers = 1

[target]
column = "text"
task = "transcribe"

[fusion]
width = 32

[language]
scorers = ["ctc", "ngram"]
mix = "product"
weights = [1.0, 0.3]

[decoding.ctc]
alpha = 0.2

[training]
epochs = 30
batch_rows = 16
learning_rate = 0.02
"""


def tones(text: str) -> np.ndarray:
    """Say letters as tones of 80 ms with 40 ms of near silence between, and blanks as longer ones."""
    rng = np.random.default_rng(len(text))
    time_N = np.arange(int(0.08 * RATE_HZ)) / RATE_HZ
    pieces = [np.zeros(800)]
    for letter in text:
        said = 0.3 * np.sin(2 * np.pi * PITCH_HZ[letter] * time_N) if letter != " " else np.zeros(640)
        pieces += [said, np.zeros(320)]
    samples_N = np.concatenate([*pieces, np.zeros(800)])
    return (samples_N + 0.002 * rng.normal(size=len(samples_N))).astype(np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    with (folder / "tones.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sound", "text"])
        for i in range(160):
            words = ["".join(rng.choice(list("abc"), rng.integers(1, 4))) for _ in range(rng.integers(1, 4))]
            # Windows of a long recording begin anywhere: the model hears letters at every place within a frame.
            lead_N = np.zeros(rng.integers(0, 640), np.float32)
            write_wav(folder / f"{i}.wav", np.concatenate([lead_N, tones(" ".join(words))]), RATE_HZ)
            writer.writerow([f"{i}.wav", " ".join(words)])
    write_wav(folder / "silence.wav", np.zeros(RATE_HZ, np.float32), RATE_HZ)
    write_wav(folder / "hiss.wav", (1e-4 * rng.normal(size=RATE_HZ)).astype(np.float32), RATE_HZ)
    write_wav(folder / "said.wav", tones("ab c"), RATE_HZ)
    (folder / "tones.toml").write_text(CONFIG)
    return train(load_config(folder / "tones.toml"), out=folder / "run", progress=Silent())


def test_it_learns_and_is_judged_by_error_rates(run):
    assert run.evaluation.metrics["cer"] < 0.2
    assert set(run.evaluation.metrics) == {"wer", "cer", "perplexity"}


def test_words_have_times(run):
    model = sensorium.load(run.run)
    heard = model.predict(sound=run.run.parent / "said.wav")
    assert heard.text == "ab c"
    assert not heard.no_speech
    first, second = heard.words
    assert (first.text, second.text) == ("ab", "c")
    # 100 ms of silence, a tone of 80 ms every 120 ms, a blank of 120 ms
    assert first.start_s == pytest.approx(0.1, abs=0.09)
    assert second.start_s == pytest.approx(0.46, abs=0.09)
    assert first.end_s <= second.start_s
    assert all(0 < word.confidence <= 1 for word in heard.words)
    assert 0 < heard.probability <= 1


@pytest.mark.parametrize("name", ["silence.wav", "hiss.wav"])
def test_silence_is_no_speech(run, name):
    heard = sensorium.load(run.run).predict(sound=run.run.parent / name)
    assert (heard.text, heard.no_speech, heard.words) == ("", True, ())


def test_silence_beside_speech_in_one_batch(run):
    folder = run.run.parent
    heard = sensorium.load(run.run).predict([{"sound": folder / n} for n in ("silence.wav", "said.wav")])
    assert [each.text for each in heard] == ["", "ab c"]


def test_a_long_recording_is_heard_in_windows(run, tmp_path):
    rng = np.random.default_rng(3)
    said = " ".join("".join(rng.choice(list("abc"), rng.integers(1, 4))) for _ in range(250))
    samples_N = np.concatenate([tones(part) for part in re.findall(r"(?:\S+ ?){1,3}", said)])
    assert 85 * RATE_HZ < len(samples_N) < 130 * RATE_HZ
    write_wav(tmp_path / "long.wav", samples_N, RATE_HZ)
    predictor = Predictor.load(run.run)
    assert predictor.model.preparers["sound"].max_seconds == 30
    row = {"sound": tmp_path / "long.wav"}
    heard, short = predictor.predict([row, {"sound": run.run.parent / "said.wav"}])
    assert predictor.model.preparers["sound"].truncated == 0
    # The small model leaves out blanks in long windows; letters would be lost or doubled at the seams.
    assert character_error_rate([heard.text.replace(" ", "")], [said.replace(" ", "")]) < 0.005
    assert [word.text for word in heard.words] == heard.text.split()
    starts = [word.start_s for word in heard.words]
    assert starts == sorted(starts)
    assert starts[-1] > len(samples_N) / RATE_HZ - 3
    assert short.text == "ab c"
    assert len(predictor.predict_whole([row])[0].text) < len(said) / 2, "cut where windows are not asked for"


def test_hot_words_that_are_not_said_are_not_heard(run):
    predictor = Predictor.load(run.run)
    said = {"sound": run.run.parent / "said.wav"}
    for boosts in ({"ab": 1.0}, {"abb": 2.0, "ca b": 3.0}):
        assert predictor.with_hot_words(boosts).predict([said])[0].text == "ab c"


def test_counts_that_change_are_heard_at_once(run):
    predictor = Predictor.load(run.run)
    said = {"sound": run.run.parent / "said.wav"}
    before = predictor.predict([said])[0].text
    ngram, vocab = predictor.model.parts["ngram"], predictor.model.vocab
    ngram.fit([[1, *vocab.ids(list("cc cc")), 2]] * 3)
    predictor.decoding = predictor.decoding.model_copy(
        update={
            "ctc": predictor.decoding.ctc.model_copy(update={"alpha": 30.0, "least_log_p": -50.0, "gap": 500.0})
        }
    )
    assert predictor.predict([said])[0].text != before


def test_a_model_without_ctc_writes_without_times(run):
    predictor = Predictor.load(run.run)
    part = predictor.model.parts["ctc"]
    part.__class__ = type("Other", (torch.nn.Module,), dict(part.__class__.__dict__))
    heard = predictor.predict([{"sound": run.run.parent / "said.wav"}])[0]
    assert isinstance(heard, Transcription)
    assert heard.words == ()
    assert heard.text
    with pytest.raises(UsageError, match="no times"):
        written(heard, "srt")


def test_the_command_writes_files(run, tmp_path):
    folder = run.run.parent
    files = [str(folder / name) for name in ("said.wav", "silence.wav")]
    runner = CliRunner()
    result = runner.invoke(
        app, ["transcribe", str(run.run), *files, "--format", "json", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    said = json.loads((tmp_path / "out" / "said.json").read_text())
    assert (said["text"], said["no_speech"], [w["word"] for w in said["words"]]) == ("ab c", False, ["ab", "c"])
    silent = json.loads((tmp_path / "out" / "silence.json").read_text())
    assert (silent["text"], silent["no_speech"]) == ("", True)
    shown = runner.invoke(app, ["transcribe", str(run.run), files[0], "--format", "srt", "--hot-word", "ab=2"])
    assert re.fullmatch(r"1\n00:00:00,\d{3} --> 00:00:00,\d{3}\nab c\n", shown.output)


def test_the_command_goes_on_after_a_bad_file(run, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    result = CliRunner().invoke(
        app, ["transcribe", str(run.run), str(tmp_path / "bad.wav"), str(run.run.parent / "said.wav")]
    )
    assert result.exit_code == 3
    assert "ab c" in result.output
    wrong = CliRunner().invoke(app, ["transcribe", str(run.run), str(tmp_path / "bad.wav"), "--format", "doc"])
    assert isinstance(wrong.exception, UsageError)


def heard(*words: tuple[str, float, float]) -> Transcription:
    timed = tuple(TimedWord(text, start, end, 0.5) for text, start, end in words)
    return Transcription(" ".join(w.text for w in timed), 0.5, (), timed, no_speech=not words)


def test_subtitles_have_their_formats():
    said = heard(("a", 0.0, 0.5), ("<b>", 0.5, 1.25), ("&", 3_661.5, 3_662.0))
    assert written(said, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,250\na <b>\n\n2\n01:01:01,500 --> 01:01:02,000\n&\n"
    )
    assert written(said, "vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.250\na &lt;b&gt;\n\n01:01:01.500 --> 01:01:02.000\n&amp;\n"
    )
    assert written(said, "txt") == "a <b> &\n"
    assert [written(heard(), style) for style in ("txt", "srt", "vtt")] == ["\n", "", "WEBVTT\n"]
    with pytest.raises(UsageError, match="'sbv'"):
        written(said, "sbv")


def test_cues_are_short_in_letters_and_in_time():
    words = [TimedWord("wording", i * 0.3, i * 0.3 + 0.25, 1.0) for i in range(60)]
    found = list(cues(words))
    assert " ".join(cue.text for cue in found) == " ".join(["wording"] * 60)
    assert all(len(cue.text) <= 84 and cue.end_s - cue.start_s <= 7 for cue in found)
    lines = written(heard(*(("wording", i * 0.3, i * 0.3 + 0.25) for i in range(10))), "srt").splitlines()[2:]
    assert [len(line) for line in lines] == [39, 39]


def test_of_a_long_recording_the_beginning_is_explained_by_its_own_text_and_that_is_said(run, tmp_path, capsys):
    samples_N = np.concatenate([tones("abc cab")] * 45)
    assert len(samples_N) > 31 * RATE_HZ
    write_wav(tmp_path / "long.wav", samples_N, RATE_HZ)
    predictor, row = Predictor.load(run.run), {"sound": tmp_path / "long.wav"}
    (heard,), (beginning,) = predictor.predict([row]), predictor.predict_whole([row])
    assert len(beginning.text) < len(heard.text)
    for found in (predictor.explain([row])[0], predictor.explain_answers([row], [heard])[0]):
        assert (found.text, found.cut) == (beginning.text, ("sound",))
    asked = explain_answer(predictor, row, methods=())
    assert (asked.text, asked.scorers.cut) == (beginning.text, ("sound",))
    assert predictor.explain([row], ["ab"])[0].text == "ab", "a text that is asked about stays"
    print_explanation(found.facts())
    assert "the beginning alone" in capsys.readouterr().out
