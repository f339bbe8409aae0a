"""Captions read aloud: who reads what, and that it is made once."""

import pytest

from sensorium.core.errors import DataError
from sensorium.data.readers import BadLine, Row
from sensorium.data.readers_spoken_captions import read_spoken_captions, spoken_form
from sensorium.data.synthesis.speech import voice_sets

CAPTIONS = """image\tsplit\tn\tcaption
1.jpg\ttrain\t0\tA dog .
1.jpg\ttrain\t1\t"Two" dogs run , 2 cats don't !
2.jpg\tdev\t0\tA man .
3.jpg\ttrain\t0\t...
4.jpg\tnone\t0\tNobody .
"""


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("espeakng_loader")
    (tmp_path / "captions.tsv").write_text(CAPTIONS)
    return tmp_path


def test_what_is_said():
    assert (
        spoken_form("Two DOGS , \"run\" 12 don't 'quote' well-known !")
        == "two dogs run one two don't quote well known"
    )
    assert spoken_form(" .,- ") == ""


def test_parts_have_their_captions_and_voices(folder):
    training, held_out = ({f"{v.name}+{v.variant}" for v in voices} for voices in voice_sets())
    train = list(read_spoken_captions(folder / "train").rows)
    assert [row.cells["text"] for row in train if isinstance(row, Row)] == ["a dog", "two dogs run two cats don't"]
    assert [row.line for row in train if isinstance(row, BadLine)] == [5]
    assert {row.cells["voice"] for row in train if isinstance(row, Row)} <= training
    (test,), (known,) = (list(read_spoken_captions(folder / part).rows) for part in ("test", "known-voices"))
    assert test.cells["text"] == known.cells["text"] == "a man"
    assert test.cells["voice"] in held_out
    assert known.cells["voice"] in training


def test_speech_is_made_once(folder):
    (first,) = read_spoken_captions(folder / "test").rows
    path = folder / first.cells["speech"]
    assert path.read_bytes()[:4] == b"RIFF"
    made = path.stat().st_mtime_ns
    assert list(read_spoken_captions(folder / "test").rows) == [first]
    assert path.stat().st_mtime_ns == made


def test_what_is_missing_is_named(folder):
    with pytest.raises(DataError, match="no part 'dev'"):
        read_spoken_captions(folder / "dev")
    with pytest.raises(DataError, match=r"captions\.tsv: no such table"):
        read_spoken_captions(folder / "elsewhere" / "train")
    (folder / "captions.tsv").write_text("caption\nA dog\n")
    with pytest.raises(DataError, match="no column 'split'"):
        list(read_spoken_captions(folder / "train").rows)
