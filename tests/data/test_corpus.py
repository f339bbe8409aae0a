"""Corpora: batches against a row-by-row oracle; holes, bad media, targets, prediction."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from crashing import FilePreparer
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import ConfigError, DataError, MediaError
from sensorium.core.types import Batch, Media, Sample
from sensorium.core.vocabulary import BOS, EOS, PAD
from sensorium.data import units
from sensorium.data.corpus import Corpus, InputSpec, TargetSpec
from sensorium.data.image_preparer import ImagePreparer
from sensorium.data.quarantine import Quarantine
from sensorium.data.table import Table
from sensorium.data.text_preparer import TextPreparer
from sensorium.data.tokenizers import build

TEXTS = ["", "what is it", "is it red", "who", "is the thing that you see red or not"]


class World:
    """Files, a table over them, and what is read from it."""

    def __init__(self, folder: Path, num_photos: int = 6) -> None:
        self.folder = folder
        for i in range(num_photos):
            (folder / f"{i}.bin").write_bytes(bytes([i, 2 * i, 3 * i, *range(i)]))
        self.photo = FilePreparer()
        self.sound = FilePreparer(ragged=True)
        self.question = TextPreparer(max_tokens=5).fit([text for text in TEXTS if text])
        self.answer = build("word").fit(["yes", "no", "a red thing"])
        self.inputs = {
            "photo": InputSpec("photo", self.photo),
            "sound": InputSpec("photo", self.sound),
            "question": InputSpec("q", self.question),
        }
        self.target = TargetSpec("a", self.answer, 2)

    def build(self, rows: list[tuple[str, str, str]], **settings) -> Corpus:
        table = Table.of([{"photo": p, "q": q, "a": a} for p, q, a in rows], self.folder, name="t.csv")
        return Corpus.build(table, range(len(table)), self.inputs, self.target, **settings)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def prepared_row(batch: Batch, name: str, row: int) -> torch.Tensor | None:
    """What a batch holds for one row, unpadded."""
    media = batch.inputs[name]
    unit = int(media.row_B[row])
    if unit < 0:
        return None
    value = media.values[unit]
    return value if media.mask_UT is None else value[media.mask_UT[unit]]


ROW = st.tuples(
    st.sampled_from(["", "0.bin", "1.bin", "2.bin", "5.bin"]),
    st.sampled_from(TEXTS),
    st.sampled_from(["", "yes", "red thing", "a red thing"]),
)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(ROW, min_size=1, max_size=12), store=st.sampled_from(["memory", "cache", "none"]), data=st.data()
)
def test_a_batch_holds_what_its_rows_hold(world, rows, store, data):
    corpus = world.build(rows, store=store, cache=world.folder / "cache")
    kept = [i for i, row in enumerate(rows) if row[2]]
    assert corpus.num_rows == len(kept)
    assert corpus.counts["rows without target"] == len(rows) - len(kept)
    assert corpus.counts["targets cut short"] == sum(rows[i][2] == "a red thing" for i in kept)
    assert corpus.counts["rows without photo"] == sum(rows[i][0] == "" for i in kept)
    assert corpus.counts["rows without any input"] == sum(rows[i][:2] == ("", "") for i in kept)
    if not kept:
        return
    chosen = data.draw(st.lists(st.integers(0, len(kept) - 1), max_size=8))
    batch = corpus.batch(np.array(chosen, np.int64))
    assert batch.row_id_B.tolist() == [kept[i] for i in chosen]
    for b, i in enumerate(chosen):
        photo, question, answer = rows[kept[i]]
        media = Media(path=world.folder / photo)
        for name, preparer, item in (
            ("photo", world.photo, media if photo else None),
            ("sound", world.sound, media if photo else None),
            ("question", world.question, question or None),
        ):
            value = prepared_row(batch, name, b)
            assert (value is None) == (item is None)
            assert item is None or torch.equal(value, preparer(item))
        ids = [BOS, *world.answer.encode(answer)[:2], EOS]
        assert batch.token_BT[b][batch.mask_BT[b]].tolist() == ids
        assert (batch.token_BT[b][~batch.mask_BT[b]] == PAD).all()
        assert corpus.target_text(i) == answer
        assert corpus.sample(i) == Sample(
            f"t.csv:{kept[i] + 1}",
            {"photo": media if photo else None, "sound": media if photo else None, "question": question or None},
            answer,
        )
        assert (corpus.where(i), corpus.row_number(i)) == (f"t.csv:{kept[i] + 1}", kept[i])
    assert batch.inputs["photo"].values.shape[0] == len({rows[kept[i]][0] for i in chosen} - {""})
    assert [list(ids) for ids in corpus.targets()] == [
        [BOS, *world.answer.encode(rows[i][2])[:2], EOS] for i in kept
    ]


def test_sharing_and_groups(world):
    rows = [("0.bin", "who", "no"), ("0.bin", "who", "no"), ("", "who", "no"), ("1.bin", "is it red", "no")]
    corpus = world.build(rows)
    assert corpus.sharing() == {"photo": 1.5, "sound": 1.5, "question": 2.0}
    group = corpus.group_N("photo")
    assert group[0] == group[1] != group[3]
    assert group[2] == -1
    assert list(corpus.inputs) == ["photo", "sound", "question"]
    assert [corpus.is_media(name) for name in corpus.inputs] == [True, True, False]


def test_rows_without_target_can_be_kept(world):
    corpus = world.build([("0.bin", "who", ""), ("1.bin", "who", "no")], keep_rows_without_target=True)
    assert corpus.num_rows == 2
    assert next(corpus.targets()) == [BOS, EOS]
    assert corpus.sample(0).target is None


def test_without_a_target_there_are_no_tokens(world):
    table = Table.of([{"photo": "0.bin", "q": "", "a": "no"}], world.folder)
    corpus = Corpus.build(table, [0], world.inputs, None)
    batch = corpus.batch(np.array([0]))
    assert batch.token_BT is batch.mask_BT is None
    assert corpus.target_text(0) == ""
    with pytest.raises(DataError, match="no target"):
        corpus.targets()


@pytest.mark.parametrize("store", ["memory", "cache", "none"])
def test_rows_with_bad_media_are_named_and_left_out(world, tmp_path, store):
    (world.folder / "bad.bin").write_bytes(b"bad")
    rows = [
        ("0.bin", "who", "no"),
        ("bad.bin", "", "no"),
        ("gone.bin", "", "no"),
        ("bad.bin", "", "yes"),
        ("", "who", "yes"),
    ]
    world.inputs = {"photo": world.inputs["photo"], "question": world.inputs["question"]}
    (world.folder / "gone.bin").write_bytes(b"bad too")
    quarantine = Quarantine(1.0)
    corpus = world.build(rows, store=store, cache=tmp_path, quarantine=quarantine)
    batch = corpus.batch(np.arange(corpus.num_rows))
    assert batch.row_id_B.tolist() == [0, 4]
    assert batch.inputs["photo"].row_B.tolist() == [0, -1]
    assert prepared_row(batch, "photo", 0).tolist() == [0, 0, 0]
    assert batch.inputs["question"].row_B.tolist() == [0, 0]
    assert len(batch.token_BT) == 2
    assert [bad.where for bad in quarantine] == ["t.csv:2", "t.csv:3", "t.csv:4"]
    assert {bad.input for bad in quarantine} == {"photo"}
    if store != "none":
        assert corpus.counts["rows quarantined"] == 3
        assert corpus.group_N("photo").tolist() == [0, -1]
        assert corpus.sample(0).inputs["photo"] == Media(path=world.folder / "0.bin")


@pytest.mark.parametrize("store", ["memory", "none"])
def test_too_many_bad_media_stop(world, store):
    (world.folder / "bad.bin").write_bytes(b"bad")
    rows = [("0.bin", "who", "no")] * 197 + [("bad.bin", "", "no")] * 3
    with pytest.raises(DataError, match=r"3 of 200 rows quarantined \(photo: 3.*t\.csv:198 photo: .*is bad"):
        world.build(rows, store=store).batch(np.arange(200))
    assert world.build(rows[1:-1], store=store, quarantine=Quarantine(0.02)).num_rows >= 196


def test_media_that_do_not_fit_are_prepared_at_batch_time(world, monkeypatch, caplog):
    monkeypatch.setattr(units, "available_bytes", lambda: 4)
    corpus = world.build([("0.bin", "who", "no")])
    assert not corpus.is_prepared
    assert "free memory" in caplog.text
    assert prepared_row(corpus.batch(np.array([0])), "photo", 0).tolist() == [0, 0, 0]
    assert world.build([("0.bin", "who", "no")], store="memory").is_prepared


def test_available_memory_is_known_here():
    available = units.available_bytes()
    assert available is None or 1 << 20 < available < 1 << 50


def test_settings_that_contradict(world):
    with pytest.raises(ConfigError, match="no cache folder"):
        world.build([("0.bin", "who", "no")], store="cache")
    with pytest.raises(DataError, match="no column 'color'"):
        Corpus.build(Table.of([{"photo": ""}]), [0], {"photo": InputSpec("color", world.photo)}, None)


def test_progress_is_told_by_input(world):
    told = []
    world.build([("0.bin", "who", "no"), ("1.bin", "", "no")], progress=lambda *facts: told.append(facts))
    assert ("photo", 2, 2) in told
    assert ("question", 1, 1) in told


def test_a_corpus_travels_without_its_table(world, tmp_path):
    for settings_ in ({"store": "memory"}, {"store": "cache", "cache": tmp_path}, {"store": "none"}):
        corpus = world.build([("0.bin", "who", "no"), ("3.bin", "", "yes")], **settings_)
        copy = pickle.loads(pickle.dumps(corpus))
        here, there = corpus.batch(np.arange(2)), copy.batch(np.arange(2))
        for name in here.inputs:
            assert torch.equal(here.inputs[name].values, there.inputs[name].values)
        assert torch.equal(here.token_BT, there.token_BT)
        with pytest.raises(DataError, match="does not know its table"):
            copy.where(0)


# ---- samples


def test_samples_become_a_batch(world):
    media = Media(path=world.folder / "3.bin")
    samples = [
        Sample("a", {"photo": media, "question": "who"}, "no"),
        Sample("b", {"photo": None, "question": "who"}, "a red thing"),
        Sample("c", {"photo": media}, "yes"),
    ]
    inputs = {"photo": world.photo, "question": InputSpec("q", world.question)}
    corpus = Corpus.from_samples(samples, inputs, world.answer)
    batch = corpus.batch(np.arange(3))
    assert batch.inputs["photo"].row_B.tolist() == [0, -1, 0]
    assert batch.inputs["question"].row_B.tolist() == [0, 0, -1]
    assert batch.inputs["photo"].values.tolist() == [[3, 6, 9]]
    assert [list(ids) for ids in corpus.targets()] == [[BOS, *world.answer.encode(s.target), EOS] for s in samples]
    assert [corpus.where(i) for i in range(3)] == ["a", "b", "c"]
    assert corpus.target_text(1) == "a red thing"
    assert corpus.sample(1).inputs == {"photo": None, "question": "who"}
    assert corpus.counts == {}


def test_samples_without_targets(world):
    inputs = {"photo": world.photo}
    assert Corpus.from_samples([Sample("a", {})], inputs, world.answer).batch(np.arange(1)).token_BT is None
    with pytest.raises(DataError, match="1 of 2 samples have a target"):
        Corpus.from_samples([Sample("a", {}, "no"), Sample("b", {})], inputs, world.answer)
    assert Corpus.from_samples([], inputs).batch(np.arange(0)).num_rows == 0


def test_a_bad_sample_is_named(world):
    with pytest.raises(MediaError, match="row 7 photo"):
        Corpus.from_samples([Sample("row 7", {"photo": Media(data=b"bad")})], {"photo": world.photo})


# ---- real media


def test_flickr_captions_share_their_photos(reference_data, tmp_path):
    table = Table.open("captions.tsv", reference_data / "flickr8k")
    rows = [i for i, split in enumerate(table.column("split")) if split == "dev"][:50]
    tokenizer = build("word").fit(table.row(i)["caption"] for i in rows)
    photo = ImagePreparer(size=32)
    corpus = Corpus.build(
        table,
        rows,
        {"photo": InputSpec("image", photo)},
        TargetSpec("caption", tokenizer, 40),
        folder=table.folder / "images",
        cache=tmp_path,
    )
    assert corpus.num_rows == 50
    assert corpus.sharing() == {"photo": 5.0}
    batch = corpus.batch(np.arange(50))
    assert batch.inputs["photo"].values.shape == (10, 3, 32, 32)
    assert tokenizer.decode(batch.token_BT[3].tolist()) == tokenizer.decode(tokenizer.encode(corpus.target_text(3)))
    first = photo(corpus.sample(0).inputs["photo"])
    assert torch.equal(batch.inputs["photo"].values[batch.inputs["photo"].row_B[0]], first)
