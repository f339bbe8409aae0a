"""Rows with several media of one kind: listed in cells, encoded once each, absent where there is none."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import sensorium
from sensorium.core.errors import ConfigError, DataError, ModelError, UsageError
from sensorium.core.types import Media, MediaBatch, Sample, words_by_row
from sensorium.data.bare import BareBatch
from sensorium.data.corpus import Corpus, InputSpec
from sensorium.data.image_preparer import ImagePreparer
from sensorium.data.quarantine import Quarantine
from sensorium.data.several import MediaLists, Several
from sensorium.data.table import Table
from sensorium.encoders.image_cnn import ImageCNN
from sensorium.model.media_list import MediaList
from sensorium.training.progress import Silent
from sensorium.workflow.config import config_from_text, load_config
from sensorium.workflow.train import train

COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230)}
CONFIG = """
[data]
train = "albums.csv"
cache = ""
[inputs.photos]
modality = "image"
encoder = "cnn"
size = 16
channels = [8, 16]
grid = 1
several = true
max_media = 3
[inputs.question]
modality = "text"
encoder = "gru"
[target]
column = "answer"
[fusion]
features = "concat"
width = 32
[language.transformer]
layers = 1
width = 32
heads = 2
[training]
epochs = 25
batch_rows = 16
learning_rate = 0.004
[evaluation]
baselines = false
"""


@pytest.fixture(scope="module")
def albums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The colour of an album's second photo; some albums are empty, and one is too long."""
    folder = tmp_path_factory.mktemp("albums")
    for name, color in COLORS.items():
        Image.new("RGB", (16, 16), color).save(folder / f"{name}.png")
    random = np.random.default_rng(0)
    with (folder / "albums.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["photos", "question", "answer"])
        for i in range(160):
            shown = list(random.permutation(list(COLORS)))[:2]
            cell = "|".join(f"{name}.png" for name in shown)
            if i % 2:
                cell = json.dumps([f"{name}.png" for name in shown])
            writer.writerow([cell if i % 20 != 7 else "", "which color is the second?", shown[1]])
        writer.writerow(["red.png|green.png|blue.png|red.png|red.png", "which color is the second?", "green"])
    (folder / "albums.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def trained(albums, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return train(load_config(albums / "albums.toml"), out=out, progress=Silent())


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        ("a.png|b.png", ["a.png", "b.png"]),
        (" a.png | | b.png ", ["a.png", "b.png"]),
        ('["a|b.png", "c.png"]', ["a|b.png", "c.png"]),
        ('["a", null, ""]', ["a"]),
        ("", []),
        ("  ", []),
        ("[]", []),
    ],
)
def test_cells_list_media(cell, parts):
    assert Several().split(cell) == parts


def test_a_broken_list_is_said_to_be_one():
    with pytest.raises(DataError, match="list"):
        Several().split('["a"')


@pytest.mark.parametrize("cell", ["[1, 2]", '[["a"]]', "[a.png]", "[1] a.jpg"])
def test_what_is_no_list_of_texts_names_one_file(cell):
    assert Several().split(cell) == [cell]


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), max_size=6))
def test_lists_pad_to_the_longest(lists):
    packed = MediaLists(lists)
    padded = packed.padded(np.arange(len(lists)))
    assert [[unit for unit in row if unit >= 0] for row in padded.tolist()] == lists
    assert padded.shape == (len(lists), max(map(len, lists), default=0))


def corpus_of(albums: Path, **options) -> Corpus:
    table = Table.open(str(albums / "albums.csv"), albums)
    spec = InputSpec("photos", ImagePreparer(size=16), Several(most=3))
    return Corpus.build(table, range(len(table)), {"photos": spec}, None, **options)


@pytest.mark.parametrize("store", ["memory", "none"])
def test_a_batch_has_each_medium_once(albums, store):
    corpus = corpus_of(albums, store=store)
    media = corpus.batch(np.arange(corpus.num_rows)).inputs["photos"]
    assert len(media.values) == 3
    assert corpus.counts["photos media beyond the most a row may have"] == 2
    assert corpus.counts["rows without photos"] == 8
    assert media.list_SK.shape[1] == 3
    for row in (0, 1, 7, 160):
        sample = corpus.sample(row).inputs["photos"]
        if sample is None:
            assert media.row_B[row] == -1
            continue
        units = [u for u in media.list_SK[media.row_B[row]].tolist() if u >= 0]
        shown = [tuple(media.values[u, :, 0, 0].tolist()) for u in units]
        assert shown == [COLORS[item.path.stem] for item in sample]


def test_a_list_with_a_bad_medium_is_a_bad_row(albums, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    for name in COLORS:
        (tmp_path / f"{name}.png").write_bytes((albums / f"{name}.png").read_bytes())
    cells = ["red.png|bad.png", "blue.png", "bad.png", '["red.png"', "red.png|blue.png"]
    table = Table.of([{"photos": cell} for cell in cells], tmp_path)
    spec = InputSpec("photos", ImagePreparer(size=16), Several())
    quarantine = Quarantine(1.0)
    corpus = Corpus.build(table, range(5), {"photos": spec}, None, quarantine=quarantine, store="memory")
    assert [corpus.row_number(i) for i in range(corpus.num_rows)] == [1, 4]
    assert len(quarantine) == 3
    found = corpus.batch(np.array([1])).inputs["photos"]
    assert found.values[found.list_SK[0], :, 0, 0].tolist() == [list(COLORS["red"]), list(COLORS["blue"])]
    lazy = Corpus.build(table, [0, 1, 2, 4], {"photos": spec}, None, quarantine=Quarantine(1.0), store="none")
    batch, (failures, _) = lazy.load(np.arange(4))
    assert [failure.row for failure in failures] == [0, 2]
    media = batch.inputs["photos"]
    assert [media.values[media.list_SK[s][media.list_SK[s] >= 0], :, 0, 0].tolist() for s in media.row_B] == [
        [list(COLORS["blue"])],
        [list(COLORS["red"]), list(COLORS["blue"])],
    ]


def test_a_batch_travels_between_processes(albums):
    batch = corpus_of(albums).batch(np.arange(12))
    again = BareBatch.of(batch).batch()
    assert torch.equal(again.inputs["photos"].list_SK, batch.inputs["photos"].list_SK)
    assert again.only(frozenset()).inputs["photos"].row_B.tolist() == [-1] * 12


@pytest.fixture(scope="module")
def encoder() -> tuple[ImageCNN, MediaList]:
    torch.manual_seed(0)
    config = ImageCNN.Config(size=16, channels=(8,), grid=2)
    return ImageCNN(config, config.preparer(), 12).eval(), MediaList(4, 12)


def test_positions_are_those_of_each_medium_alone(encoder):
    cnn, lists = encoder
    values = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    media = MediaBatch(values, None, torch.tensor([1, -1, 0, 1]), torch.tensor([[2, -1], [0, 1]]))
    found = lists(cnn, media)
    alone = cnn(MediaBatch(values, None, torch.tensor([0, 1, 2, -1])))
    assert found.present_B.tolist() == [True, False, True, True]
    assert found.mask_BT.sum(1).tolist() == [8, 1, 4, 8]
    for row, units in ((0, [0, 1]), (2, [2]), (3, [0, 1])):
        expected = torch.cat([alone.x_BTD[unit] + lists.index_KD[k] for k, unit in enumerate(units)])
        torch.testing.assert_close(found.x_BTD[row][found.mask_BT[row]], expected)
    torch.testing.assert_close(found.x_BTD[1][found.mask_BT[1]], alone.x_BTD[3][alone.mask_BT[3]])


def test_longer_neighbours_change_nothing(encoder):
    cnn, lists = encoder
    values = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    short = lists(cnn, MediaBatch(values[:1], None, torch.tensor([0]), torch.tensor([[0]])))
    beside = lists(cnn, MediaBatch(values, None, torch.tensor([0, 1]), torch.tensor([[0, -1, -1], [0, 1, 2]])))
    torch.testing.assert_close(beside.x_BTD[0][beside.mask_BT[0]], short.x_BTD[0][short.mask_BT[0]])
    torch.testing.assert_close(beside.mean_BD()[0], short.mean_BD()[0])


def test_no_media_at_all(encoder):
    cnn, lists = encoder
    media = MediaBatch(
        torch.zeros(0, 3, 16, 16, dtype=torch.uint8),
        None,
        torch.tensor([-1, -1]),
        torch.zeros(0, 0, dtype=torch.int64),
    )
    found = lists(cnn, media)
    assert found.present_B.tolist() == [False, False]
    assert found.mask_BT.sum(1).tolist() == [1, 1]
    with pytest.raises(ModelError, match="lists"):
        lists(cnn, MediaBatch(media.values, None, media.row_B))


def test_hidden_lists_are_encoded_as_absent(encoder):
    cnn, lists = encoder
    values = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    media = MediaBatch(values, None, torch.tensor([0, -1]), torch.tensor([[0, 1]]))
    found, hidden = lists(cnn, media), lists(cnn, media.absent())
    assert hidden.present_B.tolist() == [False, False]
    torch.testing.assert_close(hidden.mean_BD()[0], found.mean_BD()[1])


def test_words_of_several_texts_follow_each_other():
    mask_UT = torch.tensor([[True, True], [True, False]])
    media = MediaBatch(
        torch.tensor([[5, 6], [7, 0]]), mask_UT, torch.tensor([0, -1, 1]), torch.tensor([[1, 0], [0, -1]])
    )
    assert words_by_row(media).tolist() == [[7, 5, 6, -1], [-1] * 4, [5, 6, -1, -1]]


@given(st.lists(st.lists(st.lists(st.integers(4, 9), max_size=4), min_size=1, max_size=3), min_size=1, max_size=4))
def test_a_rows_words_are_the_same_beside_any_others(rows):
    texts = [text for row in rows for text in row]
    longest, most = max(map(len, texts)), max(map(len, rows))
    values = torch.tensor([text + [0] * (longest - len(text)) for text in texts], dtype=torch.int64)
    mask_UT = torch.tensor([[True] * len(text) + [False] * (longest - len(text)) for text in texts]).bool()
    first, lists = 0, []
    for row in rows:
        lists.append([*range(first, first + len(row)), *[-1] * (most - len(row))])
        first += len(row)
    shape = (len(texts), longest)
    media = MediaBatch(values.view(shape), mask_UT.view(shape), torch.arange(len(rows)), torch.tensor(lists))
    for row, words in zip(rows, words_by_row(media).tolist(), strict=True):
        said = [word for text in row for word in text]
        assert words == said + [-1] * (len(words) - len(said)), "the words of all texts, then nothing"


def test_learns_the_order_of_media_and_answers_any_list(trained, albums):
    model = sensorium.load(trained.run)
    table = albums / "albums.csv"
    assert model.evaluate(table).metrics["accuracy"] >= 0.9  # a third of 5 % is luck
    red, green = albums / "red.png", albums / "green.png"
    asked = "which color is the second?"
    rows = [
        {"photos": [red, green], "question": asked},
        {"photos": (green, red.read_bytes()), "question": asked},
        {"photos": f"{green}|{red}", "question": asked},
        {"photos": [Media(path=green)], "question": asked},
        {"photos": [], "question": asked},
        {"photos": green},
    ]
    found = model.predict(rows)
    assert [p.text for p in found[:3]] == ["green", "red", "red"]
    assert model.predict([rows[4]])[0].probability == pytest.approx(model.predict(question=asked).probability)
    with pytest.raises(DataError, match="max_media"):
        model.predict(photos=[red] * 4)
    with pytest.raises(UsageError, match="several"):
        model.predict(question=[asked])
    patterns = model.evaluate_missing(table)
    assert [pattern.num_complete for pattern in patterns] == [153, 153, 161, 161]


def test_samples_hold_lists():
    spec = InputSpec("x", ImagePreparer(size=8))
    items = (Media(data=b"a"), Media(data=b"b"))
    with pytest.raises(DataError, match="several"):
        Corpus.from_samples([Sample("0", {"x": items})], {"x": spec})


def test_encoders_that_count_take_one_medium(albums):
    text = CONFIG.replace('encoder = "gru"', 'encoder = "naive_bayes"\nseveral = true')
    with pytest.raises(ConfigError, match="one medium a row"):
        config_from_text(text, albums)
