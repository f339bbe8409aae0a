"""Published layouts as other programs write them: what stands there is read right, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sensorium.core.errors import DataError
from sensorium.data.readers import BadLine, Row, TableSpec, open_rows


def rows(spec: str, folder: Path) -> list[Row | BadLine]:
    return list(open_rows(TableSpec.parse(spec, folder)).rows)


def column(spec: str, folder: Path, name: str) -> list[str]:
    return [row.cells[name] if isinstance(row, Row) else f"bad: {row.message}" for row in rows(spec, folder)]


A, B = "00:00:00,500 --> 00:00:01,250", "00:00:01,500 --> 00:00:02,250"


@pytest.mark.parametrize(
    "text",
    [
        f"1\n{A}\nhello\n\n2\n{B}\nworld\n",
        f"1\n{A}\nhello\n2\n{B}\nworld\n",
        f"{A}\nhello\n{B}\nworld\n",
        f"1\n\n{A}\n\nhello\n\n2\n\n{B}\n\nworld\n",
    ],
    ids=["as usual", "without blank lines", "without numbers", "every line behind a blank one"],
)
def test_cues_of_subrip_begin_at_their_numbers_and_times(tmp_path, text):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.srt").write_text(text)
    assert column("subtitles:a.srt", tmp_path, "text") == ["hello", "world"]
    assert column("subtitles:a.srt", tmp_path, "start_s") == ["0.5", "1.5"]


def test_a_cue_of_subrip_goes_on_behind_a_blank_line(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.srt").write_text(f"1\n{A}\nhello\n\nthere\n\n2\n{B}\n5\n\n3\nno times\n")
    found = column("subtitles:a.srt", tmp_path, "text")
    assert found == ["hello there", "5", "bad: the cue '3' has no line of times"]


@pytest.mark.parametrize(
    "text",
    [
        f"WEBVTT\n{A}\nhello\n\n{B}\nworld\n",
        f"WEBVTT a title\nKind: captions\n\n{A}\nhello\n{B}\nworld\n",
        f"WEBVTT\n\n1\n{A}\nhello\n2\n{B}\nworld\n",
    ],
    ids=["behind the head", "behind a cue", "behind a cue, numbered"],
)
def test_cues_of_webvtt_begin_at_their_times(tmp_path, text):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.vtt").write_text(text.replace(",", "."))
    assert column("subtitles:a.vtt", tmp_path, "text") == ["hello", "world"]


def coco(folder: Path, images: list[tuple[int | str, str]], captions: list[tuple[int | str, str]]) -> None:
    (folder / "images").mkdir()
    listed = [{"id": number, "file_name": name} for number, name in images]
    said = [{"image_id": number, "caption": text} for number, text in captions]
    (folder / "c.json").write_text(json.dumps({"images": listed, "annotations": said}))


def test_one_number_for_two_photos_is_refused(tmp_path):
    coco(tmp_path, [(1, "dog.jpg"), (2, "cat.jpg"), (1, "bird.jpg")], [(1, "a dog")])
    with pytest.raises(DataError, match=r"has the id 1 of 'dog\.jpg' for 'bird\.jpg'"):
        rows("coco:c.json?images=images", tmp_path)


def test_photos_may_be_known_by_names_and_listed_again(tmp_path):
    coco(tmp_path, [("00a", "dog.jpg"), ("00a", "dog.jpg")], [("00a", "a dog")])
    assert column("coco:c.json?images=images", tmp_path, "image") == ["images/dog.jpg"]


@pytest.mark.parametrize(
    "remark", ["# id 5d-8 domain=train", "# sent_id = 1", "#\thttps://a.org [2010-01-01] x", "# newdoc id = a"]
)
def test_remarks_before_sentences_are_no_tokens(tmp_path, remark):
    (tmp_path / "a.txt").write_text(f"{remark}\nShe _ _ O\nruns _ _ B-X\n\n{remark}\n# # _ O\n")
    assert column("conll:a.txt", tmp_path, "tags") == ["O B-X", "O"]
    assert column("conll:a.txt", tmp_path, "words") == ["She runs", "#"]


def test_conll_u_is_refused_by_name(tmp_path):
    (tmp_path / "a.conllu").write_text("# sent_id = 1\n1\tHe\the\tPRON\t_\t_\t2\tnsubj\t_\t_\n")
    with pytest.raises(DataError, match=r"is CoNLL-U.*cut -f2,4"):
        rows("conll:a.conllu", tmp_path)


def test_quotes_behind_blanks_are_quotes_where_the_header_has_them_so(tmp_path):
    (tmp_path / "a.csv").write_text('"text", "label"\n"well, yes", "so, so"\n"no", "x"\n')
    (tmp_path / "b.csv").write_text('text,label\nno, "x"\n')
    assert column("a.csv", tmp_path, "label") == ["so, so", "x"]
    assert column("b.csv", tmp_path, "label") == [' "x"']


def test_transcripts_of_librispeech_may_have_tabs_and_large_endings(tmp_path):
    (tmp_path / "1/2").mkdir(parents=True)
    for name in ("1-2-0001.flac", "1-2-0002.FLAC"):
        (tmp_path / "1/2" / name).touch()
    (tmp_path / "1/2/1-2.trans.txt").write_text("1-2-0001\tHELLO THERE\r\n1-2-0002 BYE \r\n")
    assert column("librispeech:.", tmp_path, "text") == ["HELLO THERE", "BYE"]
