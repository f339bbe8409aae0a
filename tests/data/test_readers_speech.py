"""Common Voice, LibriSpeech, Kaldi and subtitles in their published layouts: whole, cut short, and damaged."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sensorium.core.errors import DataError, MediaError
from sensorium.data.log_mel_preparer import LogMelPreparer
from sensorium.data.quarantine import Quarantine
from sensorium.data.table import Table

RATE_HZ = 8000


def rows_of(spec: str, folder: Path, **options: Any) -> list[dict[str, str]]:
    table = Table.open(spec, folder, **options)
    return [table.row(i) for i in range(len(table))]


def bad_of(spec: str, folder: Path) -> list[str]:
    return [str(bad) for bad in Table.open(spec, folder, quarantine=Quarantine(1.0)).quarantine]


def write_sound(path: Path, seconds: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise_N = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * RATE_HZ))
    soundfile.write(path, noise_N, RATE_HZ)


# ---- Common Voice

HEADER = (
    "client_id\tpath\tsentence_id\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\tvariant\tlocale\tsegment"
)
CLIP = 'ab12\tcommon_voice_en_1.mp3\tc3\tHe said "no", and left.\t2\t0\ttwenties\tmale_masculine\t\t\ten\t'


@pytest.fixture
def common_voice(tmp_path: Path) -> Path:
    folder = tmp_path / "cv-corpus-17.0" / "en"
    (folder / "clips").mkdir(parents=True)
    (folder / "train.tsv").write_text(f"{HEADER}\n{CLIP}\n" + CLIP.replace("en_1.mp3", "en_2") + "\n")
    return folder


def test_clips_and_sentences(common_voice):
    rows = rows_of("commonvoice:train.tsv", common_voice)
    assert list(rows[0])[:3] == ["audio", "sentence", "client_id"]
    assert rows[0]["audio"] == "clips/common_voice_en_1.mp3"
    assert rows[0]["sentence"] == 'He said "no", and left.'
    assert (rows[0]["age"], rows[0]["locale"]) == ("twenties", "en")
    assert rows[1]["audio"] == "clips/common_voice_en_2.mp3"  # as before version 4


def test_clips_elsewhere(common_voice):
    (common_voice / "clips").rename(common_voice / "mp3")
    with pytest.raises(DataError, match=r"train\.tsv: the folder of its clips is not there.*\?clips=FOLDER"):
        rows_of("commonvoice:train.tsv", common_voice)
    assert rows_of("commonvoice:train.tsv?clips=mp3", common_voice)[0]["audio"] == "mp3/common_voice_en_1.mp3"


def test_common_voice_cut_short_or_damaged(common_voice):
    file = common_voice / "train.tsv"
    text = file.read_text()
    file.write_text(text[:-40])
    assert bad_of("commonvoice:train.tsv", common_voice) == ["train.tsv:3: has 4 cells, the header has 12"]
    file.write_bytes(text.encode() + CLIP.replace("common", "\t").encode() + b"\n\xff" + CLIP.encode() + b"\n")
    assert bad_of("commonvoice:train.tsv", common_voice) == [
        "train.tsv:4: has 13 cells, the header has 12",
        "train.tsv:5: the cell of 'client_id' is not valid UTF-8 text",
    ]
    file.write_text(text + CLIP.replace("common_voice_en_1.mp3", "") + "\n")
    assert bad_of("commonvoice:train.tsv", common_voice) == ["train.tsv:4: names no clip in 'path'"]
    file.write_text("client_id\tpath\n")
    with pytest.raises(DataError, match=r"train\.tsv: has no column 'sentence'"):
        rows_of("commonvoice:train.tsv", common_voice)


# ---- LibriSpeech


@pytest.fixture
def librispeech(tmp_path: Path) -> Path:
    root = tmp_path / "LibriSpeech"
    for part, speaker, chapter in (
        ("dev-clean", 84, 121123),
        ("dev-clean", 1272, 128104),
        ("test-clean", 61, 70968),
    ):
        folder = root / part / str(speaker) / str(chapter)
        names = [f"{speaker}-{chapter}-{i:04d}" for i in range(2)]
        for name in names:
            write_sound(folder / f"{name}.flac", 0.1)
        text = "".join(f"{name} GO DO YOU HEAR {i}\n" for i, name in enumerate(names))
        (folder / f"{speaker}-{chapter}.trans.txt").write_text(text)
    (root / "SPEAKERS.TXT").write_text("; comments")
    return tmp_path


def test_utterances_of_one_part_and_of_all(librispeech):
    rows = rows_of("librispeech:LibriSpeech/dev-clean", librispeech)
    assert rows[3] == {
        "audio": "84/121123/84-121123-0001.flac", "text": "GO DO YOU HEAR 1", "speaker": "84", "chapter": "121123",
        "utterance": "84-121123-0001", "subset": "dev-clean",
    }  # fmt: skip
    rows = rows_of("librispeech:LibriSpeech", librispeech)
    assert [row["subset"] for row in rows] == ["dev-clean"] * 4 + ["test-clean"] * 2
    table = Table.open("librispeech:LibriSpeech", librispeech)
    assert (table.folder / rows[5]["audio"]).is_file()


def test_librispeech_cut_short_or_damaged(librispeech):
    folder = librispeech / "LibriSpeech/dev-clean/84/121123"
    transcript = folder / "84-121123.trans.txt"
    text = transcript.read_text()
    transcript.write_text(text[:-17])  # the last line has its name and no text
    assert bad_of("librispeech:LibriSpeech/dev-clean", librispeech) == [
        "dev-clean:4: '84-121123-0001' has no text ('84/121123/84-121123.trans.txt' line 2)"
    ]
    transcript.write_text(text.splitlines(keepends=True)[0])  # cut between lines
    assert bad_of("librispeech:LibriSpeech/dev-clean", librispeech) == [
        "dev-clean:4: '84-121123-0001.flac' has no line in '84/121123/84-121123.trans.txt'"
    ]
    transcript.write_bytes(text.encode() + b"84-121123-0002 GONE\n84-121123-0003 CAF\xe9\n")
    assert bad_of("librispeech:LibriSpeech/dev-clean", librispeech) == [
        "dev-clean:5: has no recording '84-121123-0002.flac' ('84/121123/84-121123.trans.txt' line 3)",
        "dev-clean:6: is not UTF-8 at byte 18 (0xe9, 'é' in Windows-1252; save it as UTF-8) "
        "('84/121123/84-121123.trans.txt' line 4)",
    ]


def test_what_is_no_librispeech_is_refused(librispeech):
    (librispeech / "empty").mkdir()
    for spec, told in (("empty", "holds no transcripts"), ("gone", "no such table")):
        with pytest.raises(DataError, match=told):
            rows_of(f"librispeech:{spec}", librispeech)
    with pytest.raises(DataError, match="is not a folder"):
        rows_of("librispeech:LibriSpeech/SPEAKERS.TXT", librispeech)


# ---- Kaldi


@pytest.fixture
def kaldi(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    write_sound(tmp_path / "wav" / "call1.wav", 3.0)
    (folder / "wav.scp").write_text(f"call1 ../../wav/call1.wav\ncall2 {tmp_path}/wav/call1.wav\n")
    (folder / "segments").write_text("a-1 call1 0.5 1.25\na-2 call1 1.25 -1\nb-1 call2 0 3.2\n")
    (folder / "text").write_text("a-1 HELLO THERE\na-2 YES\nb-1 BYE\n")
    (folder / "utt2spk").write_text("a-1 a\na-2 a\nb-1 b\n")
    return tmp_path


def test_segments_are_seconds_of_recordings(kaldi):
    rows = rows_of("kaldi:data/train", kaldi)
    assert rows[0] == {
        "audio": "../../wav/call1.wav#t=0.5,1.25", "text": "HELLO THERE", "speaker": "a", "utterance": "a-1"
    }  # fmt: skip
    assert [row["audio"] for row in rows[1:]] == ["../../wav/call1.wav#t=1.25", f"{kaldi}/wav/call1.wav#t=0,3.2"]
    preparer = LogMelPreparer(rate_hz=RATE_HZ)
    table = Table.open("kaldi:data/train", kaldi)
    frames = [len(preparer(preparer.item(row["audio"], table.folder))) for row in rows]
    assert frames == [pytest.approx(seconds * 100, abs=3) for seconds in (0.75, 1.75, 3.0)]


def test_without_segments_a_recording_is_an_utterance(kaldi, caplog):
    folder = kaldi / "data" / "train"
    (folder / "segments").unlink()
    (folder / "utt2spk").unlink()
    (folder / "text").write_text("call2 BYE\ncall1 HELLO\n")
    with caplog.at_level(logging.WARNING):
        rows = rows_of("kaldi:data/train?root=../../wav", kaldi)
    assert rows[0] == {
        "audio": "../../wav/../../wav/call1.wav",
        "text": "HELLO",
        "speaker": "",
        "utterance": "call1",
    }
    assert rows[1]["audio"] == f"{kaldi}/wav/call1.wav"
    assert "has no 'utt2spk'" in caplog.text


def test_commands_are_not_run(kaldi):
    folder = kaldi / "data" / "train"
    mark = kaldi / "was-run"
    (folder / "wav.scp").write_text(f"call1 touch {mark}; sph2pipe -f wav a.sph |\ncall2 wav.ark:512\n")
    assert bad_of("kaldi:data/train", kaldi) == [
        *(
            f"train:{n}: recording 'call1' is a command, and commands are not run (save its output as a file)"
            for n in (1, 2)
        ),
        "train:3: recording 'call2' lies in a Kaldi archive, which is not read (copy it to WAV files)",
    ]
    assert not mark.exists()


def test_kaldi_folders_cut_short_or_damaged(kaldi):
    folder = kaldi / "data" / "train"
    (folder / "text").write_text("a-1 HELLO THERE\na-2 YES\nz-9 WHO\n")
    (folder / "segments").write_text(
        "a-1 call1 0.5 1.25\na-2 call1 1.25 1\na-2 call3 1 2\na-1 call1 1 2\nb-1 call2 0 3\nb-2 call2 nan 3\nb-3 ca"
    )
    assert bad_of("kaldi:data/train", kaldi) == [
        "train:2: 'a-2' lasts from 1.25 to 1 s (segments line 2)",
        "train:3: its recording 'call3' is not in wav.scp",
        "train:4: utterance 'a-1' is listed twice",
        "train:5: utterance 'b-1' has no line in 'text'",
        "train:6: 'b-2' lasts from nan to 3 s (segments line 6)",
        "train:7: is not 'UTTERANCE RECORDING START END' (segments line 7)",
        "train:8: 'text' has a line for 'z-9' beyond what is listed",
    ]
    (folder / "segments").write_bytes(b"a-1 call1 0 \xff\n")
    with pytest.raises(DataError, match=r"segments:1: is not UTF-8 at byte 12"):
        rows_of("kaldi:data/train", kaldi)


def test_recordings_listed_twice_or_without_path(kaldi):
    folder = kaldi / "data" / "train"
    (folder / "wav.scp").write_text("call1 ../../wav/call1.wav\ncall1 x.wav\ncall2\n")
    assert bad_of("kaldi:data/train", kaldi) == [
        "train:1: recording 'call1' is listed twice (wav.scp line 2)",
        "train:4: recording 'call2' has no path (wav.scp)",
    ]
    (folder / "segments").unlink()
    (folder / "text").unlink()
    assert bad_of("kaldi:data/train", kaldi)[0] == "train:2: utterance 'call1' is listed twice"


def test_what_is_no_kaldi_folder_is_refused(kaldi):
    for spec, told in (
        ("wav", r"has no wav\.scp"),
        ("gone", "no such table"),
        ("wav/call1.wav", "is not a folder"),
    ):
        with pytest.raises(DataError, match=told):
            rows_of(f"kaldi:{spec}", kaldi)


# ---- subtitles

SRT = """\ufeff1
00:00:00,500 --> 00:00:01,250
<i>Hello</i>
there. {\\an8}

2
00:00:01,250 --> 00:00:02,000 X1:40 X2:600 Y1:20 Y2:50
- 5 < 6 &amp; 7

"""
VTT = """WEBVTT - a talk
Kind: captions

STYLE
::cue { color: red }

NOTE nobody
reads this

intro
00:00.500 --> 00:01.250 align:start position:0%
<v.loud Mary Ann>Hello <00:00:00.800><c>there</c> &amp; you</v>

00:01.250 --> 01:00:02.000
Bye
"""


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    write_sound(tmp_path / "talk.wav", 3.0)
    (tmp_path / "talk.srt").write_text(SRT, encoding="utf-8")
    (tmp_path / "talk.en.vtt").write_text(VTT)
    return tmp_path


def test_cues_of_srt(talk):
    rows = rows_of("subtitles:talk.srt", talk)
    assert rows == [
        {"media": "talk.wav#t=0.5,1.25", "text": "Hello there.", "speaker": "", "start_s": "0.5", "end_s": "1.25"},
        {"media": "talk.wav#t=1.25,2", "text": "- 5 < 6 &amp; 7", "speaker": "", "start_s": "1.25", "end_s": "2"},
    ]
    table = Table.open("subtitles:talk.srt", talk)
    assert table.where(1) == "talk.srt:7"
    preparer = LogMelPreparer(rate_hz=RATE_HZ)
    assert len(preparer(preparer.item(rows[0]["media"], table.folder))) == pytest.approx(75, abs=3)


def test_cues_of_webvtt(talk):
    rows = rows_of("subtitles:talk.en.vtt", talk)
    assert [(row["text"], row["speaker"]) for row in rows] == [("Hello there & you", "Mary Ann"), ("Bye", "")]
    assert rows[1]["media"] == "talk.wav#t=1.25,3602"
    preparer = LogMelPreparer()
    with pytest.raises(MediaError, match=r"talk\.wav#t=1\.25,3602': lasts 3\.00 s"):
        preparer(preparer.item(rows[1]["media"], talk))


def test_a_folder_of_subtitles_and_a_medium_by_name(talk):
    rows = rows_of(f"subtitles:{talk}", talk)
    assert [row["text"] for row in rows] == ["Hello there & you", "Bye", "Hello there.", "- 5 < 6 &amp; 7"]
    (talk / "talk.wav").rename(talk / "sound.wav")
    with pytest.raises(DataError, match=r"talk\.srt: no video or sound 'talk\.\*' beside it.*\?media=FILE"):
        rows_of("subtitles:talk.srt", talk)
    assert rows_of("subtitles:talk.srt?media=sound.wav", talk)[0]["media"] == "sound.wav#t=0.5,1.25"
    with pytest.raises(DataError, match="the file of its media is not there"):
        rows_of("subtitles:talk.srt?media=gone.wav", talk)


def test_bad_cues_are_named(talk):
    more = "3\n00:00:02,500 --> 00:00:02,100\nBackwards\n\n4\n00:00:03 -> later\nX\n\n5\n00:00:aa,000 --> 00:01:00,000\nX\n"
    (talk / "talk.srt").write_text(SRT + more, encoding="utf-8")
    assert bad_of("subtitles:talk.srt", talk) == [
        "talk.srt:11: the cue ends at 2.1 s and begins at 2.5 s",
        "talk.srt:14: the cue '4' has no line of times",
        "talk.srt:19: its times '00:00:aa,000 --> 00:01:00,000' are not 'HH:MM:SS,mmm --> HH:MM:SS,mmm'",
    ]
    named = bad_of(f"subtitles:{talk}", talk)
    assert named[0] == f"{talk.name}:5: the cue ends at 2.1 s and begins at 2.5 s ('talk.srt' line 11)"


def test_subtitles_cut_short_or_damaged(talk):
    text = SRT.encode()
    (talk / "talk.srt").write_bytes(text[: text.index(b"2\n00:00:01") + 10])
    assert bad_of("subtitles:talk.srt", talk) == ["talk.srt:6: the cue '2' has no line of times"]
    for name, data, told in (
        ("talk.srt", b"1\n00:00:00,500 --> 00:00:01,250\ncaf\xe9\n", r"talk\.srt:3: is not UTF-8 at byte 3"),
        ("talk.srt", b"", "holds no cue"),
        ("talk.en.vtt", b"1\n00:00:00,500 --> 00:00:01,250\nX\n", "does not begin with WEBVTT"),
        ("talk.en.vtt", b"WEBVTT\n", "holds no cue"),
    ):
        (talk / name).write_bytes(data)
        with pytest.raises(DataError, match=told):
            rows_of(f"subtitles:{name}", talk)
    with pytest.raises(DataError, match="neither .srt nor .vtt"):
        rows_of("subtitles:talk.wav", talk)
    with pytest.raises(DataError, match="no such table"):
        rows_of("subtitles:gone.srt", talk)
