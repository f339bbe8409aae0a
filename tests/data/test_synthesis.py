"""Generated scenes, pairs and spoken tables: true by construction, equal by seed, usable at once."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium.core.errors import DataError, UsageError
from sensorium.data.synthesis.pairs import pair_tables, parse_key
from sensorium.data.synthesis.scene_media import RATE_HZ, TONE_S, frames, picture, tones, write_mp4
from sensorium.data.synthesis.scene_table import SceneOptions, write_scenes
from sensorium.data.synthesis.scenes import (
    COLORS,
    COUNTS,
    DIRECTIONS,
    KINDS,
    Scene,
    Shape,
    ask,
    caption_of,
    sample_scene,
)
from sensorium.data.synthesis.spoken_table import speak_table
from sensorium.data.table import Table


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scenes(number: int, seed: int = 0) -> list[tuple[Scene, np.random.Generator]]:
    generators = [np.random.default_rng([seed, i]) for i in range(number)]
    return [(sample_scene(rng), rng) for rng in generators]


def answer_by_hand(scene: Scene, question: str) -> str:
    """Answer a question from its words and the scene alone."""
    words = question.rstrip("?").split()
    by_kind = {shape.kind: shape for shape in scene.shapes}
    if question.startswith("what color"):
        return by_kind[words[-1]].color
    if question.startswith("what shape"):
        (found,) = [shape.kind for shape in scene.shapes if shape.color == words[-1]]
        return found
    if question.startswith("is there a"):
        return "yes" if any(s.color == words[3] and s.kind == words[4] for s in scene.shapes) else "no"
    if question.startswith("how many"):
        wanted = [s for s in scene.shapes if words[-1] in ("there", s.color)]
        return COUNTS[len(wanted)]
    if question.startswith("where"):
        assert words[3] == max(scene.shapes, key=lambda s: s.radius).kind
        return scene.direction
    one, other = by_kind[words[2]], by_kind[words[-1]]
    holds = {
        "left": one.x < other.x,
        "right": one.x > other.x,
        "above": one.y < other.y,
        "below": one.y > other.y,
    }
    return "yes" if holds[words[3]] else "no"


def test_every_answer_is_true_of_its_scene():
    kinds = Counter()
    for scene, rng in scenes(2000):
        question, answer = ask(scene, rng, moving=True)
        assert answer == answer_by_hand(scene, question), (scene, question)
        kinds[question.split()[0] + " " + question.split()[1]] += 1
    assert {"what color", "what shape", "is there", "how many", "is the", "where does"} <= set(kinds)
    assert min(kinds.values()) > 100


def test_yes_and_no_are_balanced_and_question_alone_does_not_answer():
    answers = defaultdict(Counter)
    for scene, rng in scenes(4000):
        question, answer = ask(scene, rng)
        answers[question][answer] += 1
    yes_no = Counter()
    for question, found in answers.items():
        if question.startswith("is "):
            yes_no += found
    assert 0.45 < yes_no["yes"] / yes_no.total() < 0.55


def test_pictures_show_what_the_caption_says():
    for scene, _ in scenes(200, seed=3):
        pixels = np.asarray(picture(scene, 64))
        for shape in scene.shapes:
            seen = pixels[round(shape.y * 64), round(shape.x * 64)]
            assert tuple(seen) == COLORS[shape.color], (scene, shape)
            assert shape.name in caption_of(scene)
        assert scene.label == scene.subject.kind == max(scene.shapes, key=lambda s: s.radius).kind


def test_shapes_do_not_touch():
    for scene, _ in scenes(500, seed=4):
        assert len({shape.kind for shape in scene.shapes}) == len(scene.shapes)
        area = sum((np.asarray(picture(Scene((s,), 0, "left"), 64)) > 0).any(-1).sum() for s in scene.shapes)
        whole = (np.asarray(picture(Scene(scene.shapes, 0, "left"), 64)) > 0).any(-1).sum()
        assert area == whole, scene


def test_kinds_are_told_apart_by_their_tone_at_equal_pitch():
    sounds = [tones(Scene((Shape(kind, "red", 0.5, 0.5, 0.1),), 0, "left")) for kind in KINDS]
    for i, one in enumerate(sounds):
        assert np.abs(one).max() <= 0.31
        for other in sounds[:i]:
            assert np.abs(one - other).max() > 0.05


def test_a_tone_has_its_colours_pitch_and_comes_from_left_to_right():
    scene = Scene((Shape("circle", "purple", 0.8, 0.5, 0.1), Shape("circle", "red", 0.2, 0.5, 0.1)), 0, "left")
    sound = tones(scene)
    half = len(sound) // 2
    pitches = []
    for part in (sound[:half], sound[half:]):
        spectrum = np.abs(np.fft.rfft(part, 1 << 16))
        pitches.append(spectrum.argmax() * RATE_HZ / (1 << 16))
    assert pitches == pytest.approx([262, 659], abs=1 / TONE_S)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_subject_moves_where_it_is_said_to(direction, tmp_path):
    import av

    scene = Scene((Shape("circle", "red", 0.5, 0.5, 0.14),), 255, direction)
    write_mp4(tmp_path / "a.mp4", frames(scene, 64))
    with av.open(str(tmp_path / "a.mp4")) as file:
        shown = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(shown) == 8
    places = [np.argwhere(frame[..., 1] < 128).mean(0)[::-1] for frame in (shown[0], shown[-1])]
    moved = places[1] - places[0]
    dx, dy = DIRECTIONS[direction]
    assert moved == pytest.approx([dx * 0.28 * 64, dy * 0.28 * 64], abs=1)


def folder_digest(folder: Path) -> str:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return hashlib.sha256(b"".join(str(p.relative_to(folder)).encode() + p.read_bytes() for p in files)).hexdigest()


def test_equal_seeds_give_equal_folders_and_more_rows_begin_with_the_fewer(tmp_path):
    for direction in DIRECTIONS:  # what was encoded before, at another size, must not matter
        scene = Scene((Shape("circle", "red", 0.5, 0.5, 0.14),), 255, direction)
        write_mp4(tmp_path / f"{direction}.mp4", frames(scene, 64))
    options = SceneOptions(size=32, questions=2, sound=True, clip="mp4")
    for name in "ab":
        write_scenes(tmp_path / name, 10, 7, options)
    write_scenes(tmp_path / "c", 16, 7, options)
    write_scenes(tmp_path / "d", 10, 8, options)
    assert folder_digest(tmp_path / "a") == folder_digest(tmp_path / "b") != folder_digest(tmp_path / "d")
    assert rows_of(tmp_path / "c/scenes.csv")[:10] == rows_of(tmp_path / "a/scenes.csv")


def test_a_table_of_scenes_has_what_was_asked_for(tmp_path):
    pytest.importorskip("espeakng_loader")
    table = write_scenes(tmp_path / "s", 20, 0, SceneOptions(size=32, speech="caption", sound=True, clip="frames"))
    rows = rows_of(table)
    assert list(rows[0]) == ["photo", "caption", "question", "answer", "label", "speech", "sound", "clip", "split"]
    assert Counter(row["split"] for row in rows) == {"train": 16, "test": 4}
    for row in rows:
        cells = [row["photo"], row["speech"], row["sound"], *row["clip"].split("|")]
        assert len(cells) == 11
        assert all((table.parent / cell).is_file() for cell in cells)
    assert Image.open(table.parent / rows[0]["photo"]).size == (32, 32)


def test_what_is_there_is_never_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="exists already"):
        write_scenes(tmp_path, 2, 0)
    with pytest.raises(UsageError, match="even size"):
        SceneOptions(size=33)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.fixture
def two_tables(tmp_path):
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        for i in range(6):
            (tmp_path / name / f"{i}.bin").write_bytes(b"x")
    labels = ["a", "a", "b", "b", "c", ""]
    left = [{"photo": f"{i}.bin", "label": label, "split": "train"} for i, label in enumerate(labels)]
    right = [{"sound": f"{i}.bin", "digit": label, "split": "train"} for i, label in enumerate("aaabb")]
    right.append({"sound": "5.bin", "digit": "b", "split": "test"})
    return Table.of(left, tmp_path / "left", "left"), Table.of(right, tmp_path / "right", "right"), tmp_path


def test_pairs_agree_and_their_files_are_found(two_tables):
    left, right, folder = two_tables
    out = folder / "both.csv"
    done = pair_tables(left, right, [parse_key("label=digit"), parse_key("split")], out, seed=1, each=3)
    rows = rows_of(out)
    assert (done.num_rows, done.num_alone) == (12, 2)  # 'c' and the blank one have no partner
    assert list(rows[0]) == ["photo", "label", "split", "sound"]
    key = {f"right/{i}.bin": label for i, label in enumerate("aaabb")}
    for row in rows:
        assert key[row["sound"]] == row["label"]
        assert (folder / row["photo"]).is_file()
        assert (folder / row["sound"]).is_file()
    # dealt like cards: six draws among three use each twice
    assert set(Counter(row["sound"] for row in rows if row["label"] == "a").values()) == {2}


def test_pairs_are_equal_by_seed(two_tables):
    left, right, folder = two_tables
    texts = []
    for i, seed in enumerate((5, 5, 6, 7, 8)):
        pair_tables(left, right, [("label", "digit")], folder / f"{i}.csv", seed=seed)
        texts.append((folder / f"{i}.csv").read_text())
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


def test_columns_of_one_name_are_kept_apart_and_bad_keys_are_named(two_tables):
    left, right, folder = two_tables
    pair_tables(left, right, [("label", "digit")], folder / "a.csv")
    assert "split_2" in rows_of(folder / "a.csv")[0]
    with pytest.raises(DataError, match="lable"):
        pair_tables(left, right, [("lable", "digit")], folder / "b.csv")
    with pytest.raises(DataError, match="no two rows"):
        pair_tables(left, right, [("photo", "digit")], folder / "b.csv")
    with pytest.raises(UsageError, match="exists already"):
        pair_tables(left, right, [("label", "digit")], folder / "a.csv")
    assert not (folder / "b.csv").exists()


def test_a_tables_texts_are_spoken_by_several_voices(tmp_path):
    pytest.importorskip("espeakng_loader")
    rows = [{"text": "a red circle", "split": "train"}, {"text": " ", "split": "train"}]
    rows += [{"text": "a red circle", "split": "test"}]
    table = Table.of(rows, tmp_path, "texts")
    done = speak_table(table, "text", tmp_path / "out.csv", voices=3, split_column="split")
    found = rows_of(tmp_path / "out.csv")
    assert (done.num_rows, done.num_silent) == (7, 1)
    files = [row["speech"] for row in found if row["speech"]]
    assert len(files) == len(set(files)) == 6  # six different voices: test speakers are others
    assert all((tmp_path / file).stat().st_size > 1000 for file in files)
    with pytest.raises(UsageError, match="another --into"):
        speak_table(table, "text", tmp_path / "b.csv", into="split")
