"""Every reader of text: a byte-order mark or other line ends change no row, and no other encoding is taken for UTF-8."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from sensorium.core.errors import DataError
from sensorium.data import readers_spoken_captions
from sensorium.data.readers import READERS, BadLine, TableSpec, open_rows

NO_TEXT = {
    ".parquet": "binary",
    "hf:": "Arrow or Parquet; its state.json is what datasets writes",
    "fsdd:": "names of files alone",
    "av_digits:": "sounds and pictures alone",
    "easy-vqa:": "a package",
    "spoken-easy-vqa:": "a package",
}

CUE = "1\n00:00:00,500 --> 00:00:01,250\nHello there\n\n2\n00:00:01,500 --> 00:00:02,250\ncafé\n"
COCO = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [{"image_id": 1, "caption": "un café"}]}
QUESTION = {"questions": [{"question_id": 1, "image_id": 1, "question": "what?"}]}
ANSWER = {
    "annotations": [
        {"question_id": 1, "image_id": 1, "answers": [{"answer": "café"}], "multiple_choice_answer": "café"}
    ]
}

# kind: (the spec behind it, its files of text, files and folders that have to be there beside them)
TABLES: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    ".csv": ("t.csv", {"t.csv": 'text,label\nhello,x\n"café, ""noir""",y\n'}, ()),
    ".tsv": ("t.tsv", {"t.tsv": 'text\tlabel\nhello\tx\n"un ""café"""\ty\n'}, ()),
    ".jsonl": ("t.jsonl", {"t.jsonl": '{"text": "hello"}\n{"text": "café"}\n'}, ()),
    ".ndjson": ("t.ndjson", {"t.ndjson": '{"text": "hello"}\n{"text": "café"}\n'}, ()),
    ".json": ("t.json", {"t.json": '[{"text": "hello"},\n{"text": "café"}]\n'}, ()),
    "conll:": ("conll:t.txt", {"t.txt": "He PRP B-NP\nran VBD O\n\ncafé NN B-NP\n"}, ()),
    "lines:": ("lines:t/*.txt", {"t/a.txt": "hello there\n\nbye\n", "t/b.txt": "café\n"}, ()),
    "windows:": ("windows:t.txt", {"t.txt": "hello there\ncafé\n" * 30}, ()),
    "folder:": ("folder:pets?names=../names.txt", {"names.txt": "n1 cat, café\nn2\tdog\n"}, ("pets/n1/1.jpg", "pets/n2/2.jpg")),
    "spoken-captions:": ("spoken-captions:train", {"captions.tsv": "caption\tsplit\nA dog runs\ttrain\nUn café\ttrain\n"}, ()),
    "nlvr:": ("nlvr:train", {"examples.tsv": "split\timage\tsentence\tlabel\ntrain\t1.png\tcafé\ttrue\n"}, ()),
    "coco:": ("coco:c.json?images=images", {"c.json": json.dumps(COCO, indent=1, ensure_ascii=False)}, ("images/1.jpg",)),
    "vqa:": (
        "vqa:q.json?images=images&annotations=a.json",
        {"q.json": json.dumps(QUESTION, indent=1), "a.json": json.dumps(ANSWER, indent=1, ensure_ascii=False)},
        ("images/1.jpg",),
    ),
    "flickr:": (
        "flickr:c.token?images=images&train=train.txt",
        {"c.token": "1.jpg#0\ta dog\n2.jpg#0\tun café\n", "train.txt": "1.jpg\n"},
        ("images/1.jpg",),
    ),
    "commonvoice:": ("commonvoice:train.tsv?clips=clips", {"train.tsv": "path\tsentence\n1.mp3\tun café\n"}, ("clips/1.mp3",)),
    "librispeech:": ("librispeech:L", {"L/1/2/1-2.trans.txt": "1-2-0001 UN CAFÉ\n1-2-0002 TWO\n"}, ("L/1/2/1-2-0001.flac", "L/1/2/1-2-0002.flac")),
    "kaldi:": (
        "kaldi:k",
        {"k/wav.scp": "r1 a.wav\n", "k/text": "u1 un café\nu2 two\n", "k/utt2spk": "u1 s\nu2 s\n", "k/segments": "u1 r1 0 1\nu2 r1 1 2\n"},
        ("k/a.wav",),
    ),
    "webdataset:": ("webdataset:t.tar", {"1.txt": "un café\nnoir", "1.json": '{"a":\n "b"}'}, ()),
    "subtitles:": ("subtitles:t.srt", {"t.srt": CUE}, ("t.mp4",)),
}  # fmt: skip

FORMS = {
    "mark": lambda text: ("\ufeff" + text).encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "mark and CR": lambda text: ("\ufeff" + text.replace("\n", "\r")).encode(),
}


def test_every_reader_is_here():
    assert set(TABLES) | set(NO_TEXT) == set(READERS)


def rows_of(kind: str, folder: Path, form) -> list[object]:
    spec, texts, others = TABLES[kind]
    for name, data in [*((name, form(text)) for name, text in texts.items()), *((name, b"-") for name in others)]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    if kind == "webdataset:":
        with tarfile.open(folder / "t.tar", "w") as archive:
            for name in texts:
                info = tarfile.TarInfo(name)
                info.size = (folder / name).stat().st_size
                archive.addfile(info, io.BytesIO((folder / name).read_bytes()))
    return list(open_rows(TableSpec.parse(spec, folder)).rows)


@pytest.fixture(autouse=True)
def silent_voices(monkeypatch):
    monkeypatch.setattr(readers_spoken_captions, "voice_sets", lambda: ((VOICE,), (VOICE,)))
    monkeypatch.setattr(readers_spoken_captions, "kept_speech", lambda text, voice, folder: "said.wav")


class VOICE:
    name, variant = "en", "m1"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", TABLES)
def test_marks_and_line_ends_change_no_row(tmp_path, kind, form):
    plain = rows_of(kind, tmp_path, str.encode)
    assert plain
    assert not any(isinstance(row, BadLine) for row in plain)
    assert "caf" in str(plain).lower()
    assert rows_of(kind, tmp_path, FORMS[form]) == plain


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp1252"])
@pytest.mark.parametrize("kind", TABLES)
def test_another_encoding_is_a_fault_that_names_it(tmp_path, kind, encoding):
    try:
        rows = rows_of(kind, tmp_path, lambda text: text.encode(encoding))
    except DataError as error:
        told = str(error)
    else:
        told = "".join(row.message for row in rows if isinstance(row, BadLine))
    wanted = "UTF-8" if encoding == "cp1252" else f"is {encoding[:6].upper()} text"
    assert wanted in told
