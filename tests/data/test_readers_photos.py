"""COCO captions, VQA v2 and Flickr in their published layouts: whole, cut short, and damaged."""

from __future__ import annotations

import csv
import json
import logging
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from sensorium.core.errors import DataError
from sensorium.data.joining import Joined
from sensorium.data.quarantine import Quarantine
from sensorium.data.table import Table


def rows_of(spec: str, folder: Path, **options: Any) -> list[dict[str, str]]:
    table = Table.open(spec, folder, **options)
    return [table.row(i) for i in range(len(table))]


def bad_of(spec: str, folder: Path) -> list[str]:
    return [str(bad) for bad in Table.open(spec, folder, quarantine=Quarantine(1.0)).quarantine]


# ---- COCO

CAPTIONS = "annotations/captions_val2017.json"


def coco(num_images: int = 2) -> dict[str, Any]:
    """A file as cocodataset.org has it."""
    return {
        "info": {"description": "COCO 2017 Dataset", "url": "http://cocodataset.org", "version": "1.0", "year": 2017},
        "licenses": [{"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"}],
        "images": [
            {"license": 4, "file_name": f"{i:012d}.jpg", "height": 427, "width": 640, "id": i,
             "coco_url": f"http://images.cocodataset.org/val2017/{i:012d}.jpg"}
            for i in range(num_images)
        ],
        "annotations": [
            {"image_id": i % num_images, "id": 38 + i, "caption": f"A man with a red helmet \n on moped {i}."}
            for i in range(5 * num_images)
        ],
    }  # fmt: skip


@pytest.fixture
def coco_folder(tmp_path: Path) -> Path:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    (tmp_path / CAPTIONS).write_text(json.dumps(coco()))
    return tmp_path


def test_a_caption_is_a_row(coco_folder):
    rows = rows_of(f"coco:{CAPTIONS}", coco_folder)
    assert len(rows) == 10
    caption = "A man with a red helmet on moped 1."
    assert rows[1] == {"image": "../val2017/000000000001.jpg", "caption": caption, "image_id": "1"}
    table = Table.open(f"coco:{CAPTIONS}", coco_folder)
    assert (table.folder / rows[1]["image"]).parent.resolve() == coco_folder / "val2017"
    assert table.where(1) == "captions_val2017.json:2"


def test_images_lie_where_the_option_says(coco_folder):
    (coco_folder / "val2017").rename(coco_folder / "photos")
    with pytest.raises(DataError, match=r"val2017\.json: the folder of its images is not there.*\?images=FOLDER"):
        rows_of(f"coco:{CAPTIONS}", coco_folder)
    with pytest.raises(DataError, match="tried '../fotos'"):
        rows_of(f"coco:{CAPTIONS}?images=../fotos", coco_folder)
    rows = rows_of(f"coco:{CAPTIONS}?images=../photos", coco_folder)
    assert rows[0]["image"] == "../photos/000000000000.jpg"


def test_annotations_before_images_are_no_fault(coco_folder):
    before = rows_of(f"coco:{CAPTIONS}", coco_folder)
    (coco_folder / CAPTIONS).write_text(json.dumps(dict(reversed(coco().items()))))
    assert rows_of(f"coco:{CAPTIONS}", coco_folder) == before


def test_bad_annotations_are_named_and_images_without_caption_counted(coco_folder, caplog):
    value = coco(60)
    value["annotations"][7]["image_id"] = 99
    del value["annotations"][8]["caption"]
    value["annotations"][9] = None
    value["annotations"] = value["annotations"][:59]
    (coco_folder / CAPTIONS).write_text(json.dumps(value))
    with caplog.at_level(logging.WARNING):
        found = bad_of(f"coco:{CAPTIONS}", coco_folder)
    assert found == [
        "captions_val2017.json:8: its image 99 is not listed in 'images'",
        "captions_val2017.json:9: the annotation has no 'caption' (is this a captions_*.json?)",
        "captions_val2017.json:10: the annotation is no JSON object",
    ]
    assert "4 images have no caption" in caplog.text


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_a_coco_file_cut_short_is_named(coco_folder, share):
    text = (coco_folder / CAPTIONS).read_text()
    (coco_folder / CAPTIONS).write_text(text[: int(share * len(text))])
    with pytest.raises(DataError, match=r"captions_val2017\.json: is cut short at byte.*download"):
        rows_of(f"coco:{CAPTIONS}", coco_folder)


def test_a_damaged_coco_file_is_named(coco_folder):
    text = (coco_folder / CAPTIONS).read_text().replace('"id": 40', '"id" 40')
    (coco_folder / CAPTIONS).write_text(text)
    with pytest.raises(DataError, match="not JSON in record 3 of 'annotations'"):
        rows_of(f"coco:{CAPTIONS}", coco_folder)
    (coco_folder / CAPTIONS).write_text('{"images": [{"id": 1}], "annotations": []}')
    with pytest.raises(DataError, match="record 1 of 'images' lacks"):
        rows_of(f"coco:{CAPTIONS}", coco_folder)
    (coco_folder / CAPTIONS).write_text('{"images": []}')
    with pytest.raises(DataError, match="has no 'annotations'"):
        rows_of(f"coco:{CAPTIONS}", coco_folder)


def test_captions_are_read_as_a_stream(coco_folder, monkeypatch):
    from sensorium.data import json_stream
    from sensorium.data.readers import TableSpec, open_rows

    monkeypatch.setattr(json_stream, "_CHUNK", 1 << 14)
    (coco_folder / CAPTIONS).write_text(json.dumps(coco(2_000)))
    stream = open_rows(TableSpec.parse(f"coco:{CAPTIONS}", coco_folder))
    tracemalloc.start()
    assert sum(1 for _ in stream.rows) == 10_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (coco_folder / CAPTIONS).stat().st_size / 2


@pytest.mark.slow
def test_a_hundred_thousand_captions_cost_no_more_than_json_several_times(coco_folder):
    (coco_folder / CAPTIONS).write_text(json.dumps(coco(20_000)))
    started = time.process_time()
    assert len(Table.open(f"coco:{CAPTIONS}", coco_folder)) == 100_000
    took_s = time.process_time() - started
    started = time.process_time()
    json.loads((coco_folder / CAPTIONS).read_text())
    assert took_s < 40 * (time.process_time() - started)


# ---- VQA v2

QUESTIONS = "v2_OpenEnded_mscoco_val2014_questions.json"
ANNOTATIONS = "v2_mscoco_val2014_annotations.json"


def vqa(num_rows: int = 3) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two files as visualqa.org has them."""
    head = {"info": {"version": "2.0"}, "task_type": "Open-Ended", "data_type": "mscoco", "data_subtype": "val2014"}
    ids = [{"image_id": 42 + i // 2, "question_id": 42000 + i} for i in range(num_rows)]
    people = ["yes"] * 6 + ["no"] * 3 + ["it's a dog"]
    answers = [{"answer": a, "answer_confidence": "yes", "answer_id": n} for n, a in enumerate(people, start=1)]
    more = {"question_type": "is the", "multiple_choice_answer": "yes", "answers": answers, "answer_type": "yes/no"}
    questions = head | {"questions": [{"question": f"Is the dog {i}?", **one} for i, one in enumerate(ids)]}
    return questions, head | {"annotations": [more | one for one in ids]}


def write_vqa(folder: Path, questions: dict[str, Any], annotations: dict[str, Any]) -> None:
    (folder / QUESTIONS).write_text(json.dumps(questions))
    (folder / ANNOTATIONS).write_text(json.dumps(annotations))
    (folder / "val2014").mkdir(exist_ok=True)


def test_a_question_is_a_row(tmp_path):
    write_vqa(tmp_path, *vqa())
    rows = rows_of(f"vqa:{QUESTIONS}", tmp_path)
    assert len(rows) == 3
    assert rows[2] == {
        "image": "val2014/COCO_val2014_000000000043.jpg", "question": "Is the dog 2?", "answer": "yes",
        "answers": json.dumps(["yes"] * 6 + ["no"] * 3 + ["it's a dog"]), "answer_type": "yes/no",
        "question_type": "is the", "question_id": "42002",
    }  # fmt: skip
    (tmp_path / "val2014" / "000000000042.jpg").touch()
    assert rows_of(f"vqa:{QUESTIONS}", tmp_path)[0]["image"] == "val2014/000000000042.jpg"


def test_the_published_folders_and_the_options(tmp_path):
    write_vqa(tmp_path, *vqa())
    for name in ("Questions", "Annotations", "Images/mscoco"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / QUESTIONS).rename(tmp_path / "Questions" / QUESTIONS)
    (tmp_path / ANNOTATIONS).rename(tmp_path / "Annotations" / ANNOTATIONS)
    (tmp_path / "val2014").rename(tmp_path / "Images/mscoco/val2014")
    rows = rows_of(f"vqa:Questions/{QUESTIONS}", tmp_path)
    assert rows[0]["image"] == "../Images/mscoco/val2014/COCO_val2014_000000000042.jpg"
    (tmp_path / "Annotations" / ANNOTATIONS).rename(tmp_path / "a.json")
    with pytest.raises(DataError, match="its answers .* are not there"):
        rows_of(f"vqa:Questions/{QUESTIONS}", tmp_path)
    spec = f"vqa:Questions/{QUESTIONS}?annotations=../a.json&images=../Images/mscoco/val2014"
    assert rows_of(spec, tmp_path) == rows


def test_another_order_of_the_annotations_is_no_fault(tmp_path):
    questions, annotations = vqa(50)
    write_vqa(tmp_path, questions, annotations)
    before = rows_of(f"vqa:{QUESTIONS}", tmp_path)
    annotations["annotations"].reverse()
    write_vqa(tmp_path, questions, annotations)
    assert rows_of(f"vqa:{QUESTIONS}", tmp_path) == before


def test_a_test_part_has_no_answers(tmp_path):
    questions, _ = vqa()
    name = QUESTIONS.replace("val2014", "test-dev2015")
    (tmp_path / name).write_text(json.dumps(questions))
    (tmp_path / "test2015").mkdir()
    rows = rows_of(f"vqa:{name}", tmp_path)
    assert rows[0]["answer"] == rows[0]["answers"] == ""
    assert rows[0]["image"] == "test2015/COCO_test2015_000000000042.jpg"


def test_questions_and_annotations_without_each_other_are_named(tmp_path):
    questions, annotations = vqa(6)
    del annotations["annotations"][1]
    del questions["questions"][2]
    annotations["annotations"][3]["answers"] = []
    del annotations["annotations"][4]["question_id"]
    del questions["questions"][2]["image_id"]
    write_vqa(tmp_path, questions, annotations)
    found = bad_of(f"vqa:{QUESTIONS}", tmp_path)
    name = f"{QUESTIONS}:"
    assert f"{name}2: question 42001 has no annotation" in found
    assert f"{name}3: the question has no 'image_id'" in found
    assert f"{name}4: record 4 of '{ANNOTATIONS}' has no list of answers" in found
    assert f"{name}6: the annotation of question 42002 has no question" in found
    assert f"{name}8: record 5 of '{ANNOTATIONS}' has no 'question_id'" in found


@pytest.mark.parametrize("name", [QUESTIONS, ANNOTATIONS])
def test_a_vqa_file_cut_short_or_damaged_is_named(tmp_path, name):
    write_vqa(tmp_path, *vqa())
    text = (tmp_path / name).read_text()
    (tmp_path / name).write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match=f"{name}: is cut short at byte"):
        rows_of(f"vqa:{QUESTIONS}", tmp_path)
    (tmp_path / name).write_text(text.replace('"image_id":', '"image_id"', 1))
    with pytest.raises(DataError, match=f"{name}: is not JSON in record 1 of"):
        rows_of(f"vqa:{QUESTIONS}", tmp_path)


def test_a_kept_table_knows_all_of_its_files(tmp_path, monkeypatch):
    from sensorium.data import table

    monkeypatch.setattr(table, "_KEPT_BYTES", 0)
    questions, annotations = vqa()
    write_vqa(tmp_path, questions, annotations)
    assert rows_of(f"vqa:{QUESTIONS}", tmp_path, cache=tmp_path)[0]["answer"] == "yes"
    annotations["annotations"][0]["multiple_choice_answer"] = "maybe"
    write_vqa(tmp_path, questions, annotations)
    assert rows_of(f"vqa:{QUESTIONS}", tmp_path, cache=tmp_path)[0]["answer"] == "maybe"
    monkeypatch.setattr(table, "open_rows", lambda spec: pytest.fail("the table was read again"))
    assert rows_of(f"vqa:{QUESTIONS}", tmp_path, cache=tmp_path)[0]["answer"] == "maybe"


def test_records_are_joined_in_any_order():
    joined = Joined(iter([("b", 1), ("a", 2), ("b", 3), ("c", 4), ("d", 5)]))
    assert [joined.pop("a"), joined.pop("c"), joined.pop("b"), joined.pop("b")] == [2, 4, 1, None]
    assert joined.repeated == ["b"]
    assert list(joined.rest()) == [("d", 5)]


# ---- Flickr

TOKENS = (
    "1000268201_693b08cb0e.jpg#0\tA child in a pink dress is climbing up a set of stairs in an entry way .\n"
    "1000268201_693b08cb0e.jpg#1\tA girl going into a wooden building .\n"
    "1001773457_577c3a7d70.jpg#0\tA black dog and a spotted dog are fighting\n"
    "2258277193_586949ec62.jpg.1#0\tpeople waiting for the subway\n"
)
PIPED = (
    "image_name| comment_number| comment\n"
    "1000092795.jpg| 0| Two young guys with shaggy hair look at their hands .\n"
    '1000092795.jpg| 1| Two men in "green" shirts are standing in a yard .\n'
)


@pytest.fixture
def flickr8k(tmp_path: Path) -> Path:
    (tmp_path / "Flickr8k.token.txt").write_text(TOKENS)
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("1000268201_693b08cb0e.jpg\n")
    (tmp_path / "Flickr_8k.devImages.txt").write_text("1001773457_577c3a7d70.jpg\n7.jpg\n")
    (tmp_path / "Flicker8k_Dataset").mkdir()
    return tmp_path


def test_token_files_and_their_lists(flickr8k, caplog):
    with caplog.at_level(logging.WARNING):
        rows = rows_of("flickr:Flickr8k.token.txt", flickr8k)
    caption = "A girl going into a wooden building ."
    image = "Flicker8k_Dataset/1000268201_693b08cb0e.jpg"
    assert rows[1] == {"image": image, "caption": caption, "split": "train"}
    assert [row["split"] for row in rows] == ["train", "train", "dev", ""]
    assert (
        rows[3]["image"] == "Flicker8k_Dataset/2258277193_586949ec62.jpg.1"
    )  # in the published file, without photo
    assert "1 listed images have no caption (7 ...)" in caplog.text


def test_results_csv_of_flickr30k(tmp_path):
    (tmp_path / "flickr30k_images").mkdir()
    (tmp_path / "flickr30k_images" / "results.csv").write_text(PIPED)
    (tmp_path / "val.txt").write_text("1000092795\n")
    rows = rows_of("flickr:flickr30k_images/results.csv?images=.&dev=../val.txt", tmp_path)
    assert rows[1] == {
        "image": "1000092795.jpg", "caption": 'Two men in "green" shirts are standing in a yard .', "split": "dev",
    }  # fmt: skip
    # A line of the published file lacks its second bar.
    text = PIPED + "2199200615.jpg| 4   A dog runs across the grass .\n"
    (tmp_path / "flickr30k_images" / "results.csv").write_text(text)
    found = bad_of("flickr:flickr30k_images/results.csv", tmp_path)
    assert found == ["results.csv:4: is not 'NAME| NUMBER| CAPTION'"]


def test_captions_as_csv(tmp_path):
    (tmp_path / "Images").mkdir()
    with (tmp_path / "captions.txt").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "caption"], ["1.jpg", 'a "dog", running'], ["2.jpg", "b"]])
    assert rows_of("flickr:captions.txt", tmp_path)[0] == {
        "image": "Images/1.jpg", "caption": 'a "dog", running', "split": "",
    }  # fmt: skip


def test_flickr_files_cut_short_or_damaged(flickr8k):
    file = flickr8k / "Flickr8k.token.txt"
    file.write_text(TOKENS[:-45])
    assert bad_of("flickr:Flickr8k.token.txt", flickr8k) == [
        "Flickr8k.token.txt:4: is not 'NAME#NUMBER<tab>CAPTION'"
    ]
    file.write_bytes(TOKENS.encode() + b"3.jpg#0\tcaf\xe9\n")
    assert bad_of("flickr:Flickr8k.token.txt", flickr8k) == [
        "Flickr8k.token.txt:5: is not UTF-8 at byte 11 (0xe9, 'é' in Windows-1252; save it as UTF-8)"
    ]
    for text, told in (("", "is empty"), ("a,b\n", "no file of Flickr captions")):
        file.write_text(text)
        with pytest.raises(DataError, match=told):
            rows_of("flickr:Flickr8k.token.txt", flickr8k)
    with pytest.raises(DataError, match="no such table"):
        rows_of("flickr:gone.txt", flickr8k)


def test_lists_that_contradict_each_other_are_refused(flickr8k):
    (flickr8k / "Flickr_8k.testImages.txt").write_text("1000268201_693b08cb0e.jpg\n")
    with pytest.raises(DataError, match=r"testImages\.txt: '1000268201_693b08cb0e' is on another list too"):
        rows_of("flickr:Flickr8k.token.txt", flickr8k)
    with pytest.raises(DataError, match="the file of its test is not there"):
        rows_of("flickr:Flickr8k.token.txt?test=gone.txt", flickr8k)
