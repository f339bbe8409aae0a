"""No medium stands on both sides when rows are held back, or dealt to folds, by the config's inputs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sensorium.data.quarantine import Quarantine
from sensorium.media.content import contents
from sensorium.workflow.config import load_config
from sensorium.workflow.left_out import folds
from sensorium.workflow.prepare import open_parts, prepare

CONFIG = """
[data]
train = "t.csv"
cache = ""
validation_fraction = {fraction}
{inputs}
[target]
column = "label"
task = "classify"
"""
PHOTO = '[inputs.{0}]\nmodality = "image"\nencoder = "cnn"\nsize = 8\n'
SOUND = '[inputs.{0}]\nmodality = "audio"\nencoder = "cnn"\n'


def divided(folder: Path, header: str, lines: list[str], inputs: str, fraction: float = 0.1):
    (folder / "t.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    (folder / "c.toml").write_text(CONFIG.format(inputs=inputs, fraction=fraction), encoding="utf-8")
    config = load_config(folder / "c.toml")
    return config, open_parts(config, Quarantine(1.0))


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode() * 50)


def leaks(config, parts) -> dict[str, int]:
    """Count held rows that share the bytes of a file, or a text, with training rows; independent of what is tested."""
    table, found = parts["train"].table, {}

    def seen(part, name):
        cells = [table.row(i)[config.model.inputs[name].column] for i in parts[part].row_N]
        files = [[piece.partition("#t=")[0] for piece in cell.split("|") if piece] for cell in cells]
        paths = [[table.folder / one for one in row] for row in files]
        return [{path.read_bytes() if path.is_file() else str(path).encode() for path in row} for row in paths]

    for name in config.model.inputs:
        learned = set().union(*(row for other in config.model.inputs for row in seen("train", other)))
        if count := sum(bool(row & learned) for row in seen("validation", name)):
            found[name] = count
    return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("way", ["three", "second", "several", "dotted", "copies", "cues"])
def test_no_medium_is_on_both_sides(tmp_path, way, seed):
    draw = np.random.default_rng(seed).integers
    names = [f"p/{i}.png" for i in range(3 if way == "three" else 12)]
    files(tmp_path, *names)
    for i, name in enumerate(names):
        shutil.copy(tmp_path / name, tmp_path / f"p/copy{i}.png")

    def cell() -> str:
        i = int(draw(len(names)))
        return {
            "dotted": ["", "./", "p/../"][draw(3)] + names[i],
            "copies": [names[i], f"p/copy{i}.png"][draw(2)],
            "cues": f"{names[i]}#t={draw(9)}.0",
            "several": f"{names[i]}|{names[i - i % 3]}",
        }.get(way, names[i])

    media = "sound" if way == "cues" else "photo"
    inputs = (SOUND if way == "cues" else PHOTO).format(media) + ("several = true\n" if way == "several" else "")
    header, lines = f"{media},label", [f"{cell()},{i % 2}" for i in range(90)]
    if way == "second":  # the first one is another one in every row
        files(tmp_path, *(f"q/{i}.png" for i in range(90)))
        header, lines = "own,photo,label", [f"q/{i}.png,{line}" for i, line in enumerate(lines)]
        inputs = PHOTO.format("own") + inputs
    config, parts = divided(tmp_path, header, lines, inputs)
    assert min(len(part.row_N) for part in parts.values()) > 0
    assert len(parts["validation"].row_N) <= 45
    assert leaks(config, parts) == {}


def test_few_groups_are_held_back_whole_and_it_is_said(tmp_path):
    files(tmp_path, "0.png", "1.png", "2.png")
    lines = [f"{i % 3}.png,{i % 2}" for i in range(30)]
    _, parts = divided(tmp_path, "photo,label", lines, PHOTO.format("photo"))
    (note,) = parts["validation"].notes
    assert "10 of 30 rows (33.3%, where 10.0% were asked for): 1 of 3 groups that share 'photo'" in note


def test_one_photo_for_all_is_parted_row_by_row_and_it_is_said(tmp_path):
    files(tmp_path, "0.png")
    _, parts = divided(tmp_path, "photo,label", [f"0.png,{i % 2}" for i in range(40)], PHOTO.format("photo"))
    (note,) = parts["validation"].notes
    assert "held back one by one; " in note
    assert f"{len(parts['validation'].row_N)} of them share 'photo' with the others" in note


def test_photos_that_meet_in_a_placeholder_are_still_parted_by_photo(tmp_path):
    files(tmp_path, "none.png", *(f"{i}.png" for i in range(20)))
    lines = [f"{i % 20}.png,none.png,{i % 2}" for i in range(100)]
    inputs = PHOTO.format("photo") + PHOTO.format("other")
    config, parts = divided(tmp_path, "photo,other,label", lines, inputs)
    assert leaks(config, parts) == {"other": len(parts["validation"].row_N)}
    assert "by 'photo' alone" in parts["validation"].notes[0]


def test_a_share_of_training_rows_is_whole_groups_and_lies_within_larger_ones(tmp_path):
    files(tmp_path, *(f"{i}.png" for i in range(60)))
    lines = [f"{i % 60}.png,{i % 2}" for i in range(240)]
    shares = []
    for share in (0.1, 0.3, 0.9):
        config, _ = divided(tmp_path, "photo,label", lines, PHOTO.format("photo"))
        config = config.replace(data=config.data.model_copy(update={"train_fraction": share}))
        row_N = open_parts(config, Quarantine(1.0))["train"].row_N
        assert np.bincount(row_N % 60).max() == np.bincount(row_N % 60)[np.unique(row_N % 60)].min() == 4
        shares.append(set(row_N.tolist()))
    assert shares[0] < shares[1] < shares[2]


def test_repeated_short_texts_are_divided_as_rows(tmp_path):
    inputs = '[inputs.text]\nmodality = "text"\nencoder = "gru"\n'
    lines = [f"{'what shines' if i % 3 else 'what grows'},{i % 2}" for i in range(200)]
    _, parts = divided(tmp_path, "text,label", lines, inputs)
    assert 10 <= len(parts["validation"].row_N) <= 40
    assert not parts["validation"].notes
    texts = [f"text no. {i // 2 if i < 60 else i}" for i in range(200)]
    config, parts = divided(tmp_path, "text,label", [f"{text},{i % 2}" for i, text in enumerate(texts)], inputs)
    assert leaks(config, parts) == {}
    assert 10 <= len(parts["validation"].row_N) <= 40


def test_folds_keep_every_medium_whole(shapes_folder, tmp_path, caplog):
    config = load_config(shapes_folder / "shapes.toml")
    corpus = prepare(config).train
    fold_N = folds(corpus, 4)
    items = [corpus.sample(i).inputs["photo"] for i in range(corpus.num_rows)]
    place_M = contents([item for item in items if item is not None]).place_M
    fold_M = fold_N[[item is not None for item in items]]
    assert all(len(set(fold_M[place_M == place].tolist())) == 1 for place in np.unique(place_M))
    assert not caplog.records
